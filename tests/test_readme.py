"""The README's code blocks, run in order in one folder, as a reader would run them.

A block with ``<!-- not run -->`` on the line above is left out (make, system packages, hours of training).
The folder starts with what a checkout has: the shipped codec, the bundled recordings and the settings.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"(?P<skip><!-- not run -->\n)?```(?P<language>python|sh)\n(?P<code>.*?)```", re.S)
NEEDED = ("checkpoints", "configs", "docs", "recipes", "tests")


def blocks() -> list[tuple[str, str]]:
    """Language and code of every block that is to run."""
    text = (ROOT / "README.md").read_text()
    return [(m["language"], m["code"]) for m in FENCE.finditer(text) if not m["skip"]]


def test_every_shell_block_names_its_language():
    opened = re.findall(r"^```(\w*)$", (ROOT / "README.md").read_text(), re.M)[::2]
    assert set(opened) <= {"python", "sh", "text", "json", "yaml"}


def test_every_block_runs(workdir: Path):
    if not blocks():
        pytest.skip("README.md has no blocks to run yet")
    for name in NEEDED:
        if (ROOT / name).exists():
            (workdir / name).symlink_to(ROOT / name, target_is_directory=True)
    tools = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for language, code in blocks():
        command = (
            [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
        )
        run = subprocess.run(
            command, cwd=workdir, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert run.returncode == 0, f"{code}\n{run.stdout}\n{run.stderr}"
