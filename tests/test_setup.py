"""The set-up that every make target runs first, where it must refuse."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def fresh(tmp_path: Path, checkout: Path) -> Path:
    """A checkout without an environment, in a folder whose name has a space."""
    place = tmp_path / "my projects"
    (place / ".ci").mkdir(parents=True)
    shutil.copy(checkout / ".ci/setup", place / ".ci/setup")
    for name in ("pyproject.toml", "requirements.lock", "Makefile"):
        shutil.copy(checkout / name, place / name)
    return place


def test_without_a_new_python_one_sentence_says_what_to_do(fresh: Path):
    shutil.copy("/bin/false", fresh / "python3.12")  # a shim that is there and does not run
    run = subprocess.run(
        ["/bin/sh", ".ci/setup"],
        cwd=fresh,
        env=os.environ | {"PYTHON": str(fresh / "python3.12")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    (sentence,) = run.stderr.splitlines()
    assert "Python 3.12 or newer" in sentence
    assert "install it" in sentence
    assert not (fresh / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_help_lists_every_target(fresh: Path):
    text = subprocess.run(["make"], cwd=fresh, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "lock", "clean", "help"):
        assert f"make {target} " in text
    assert not (fresh / ".venv").exists()
