"""The README's code blocks, run in order in one folder, as a reader would run them.

A block with ``<!-- not run -->`` on the line above is left out (make, system packages, hours of training).
The folder starts with the shipped codec, ``recordings/<speaker>/*`` and a recording of one's own, ``me.wav``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"(?P<skip><!-- not run -->\n)?```(?P<language>python|sh)\n(?P<code>.*?)```", re.S)
SPOKEN = ROOT / "tests/assets/slt_short.flac"


def blocks() -> list[tuple[str, str]]:
    """Language and code of every block that is to run."""
    text = (ROOT / "README.md").read_text()
    return [(m["language"], m["code"]) for m in FENCE.finditer(text) if not m["skip"]]


def test_every_shell_block_names_its_language():
    opened = re.findall(r"^```(\w*)$", (ROOT / "README.md").read_text(), re.M)[::2]
    assert set(opened) <= {"python", "sh", "text", "json", "yaml"}


@pytest.fixture
def desk(workdir: Path) -> Path:
    """The folder that the README's reader works in."""
    wave, rate = soundfile.read(SPOKEN)
    for place in ("anna/one.wav", "anna/two.wav", "ben/one.wav", "ben/two.wav"):
        (workdir / "recordings" / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(workdir / "recordings" / place, wave, rate)
    soundfile.write(workdir / "me.wav", wave, rate)
    (workdir / "checkpoints").symlink_to(ROOT / "checkpoints", target_is_directory=True)
    return workdir


def test_every_file_and_picture_is_there():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.skipif(not (ROOT / "checkpoints/speech/config.json").is_file(), reason="no codec ships yet")
def test_every_block_runs(desk: Path):
    tools = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    assert blocks()
    for language, code in blocks():
        shell = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        run = subprocess.run(
            [*shell, code],
            cwd=desk,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert run.returncode == 0, f"{code}\n{run.stdout}\n{run.stderr}"
