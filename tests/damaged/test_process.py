"""The same as processes of their own: what a shell sees."""

import subprocess
import sys
from pathlib import Path

import pytest

from speechvq.cli import FAULT

from .place import contents, split

PROCESSES = {
    "no-file": "encode none.wav out.svq --codec CODEC",
    "bad-sound": "convert bad.wav out.wav -s slt --codec CODEC",
    "bad-codec": "encode a.wav out.svq --codec hollow",
    "bad-codes": "decode b.svq out.wav -s slt --codec CODEC",
    "unknown-voice": "convert a.wav out.wav -s nobody --codec CODEC",
    "corpus": "prepare folder hollow --out c",
    "experiment": "train experiment=opera",
    "manifest": "score conversion a.wav --out c --codec CODEC",
    "demo": "demo --codec hollow --out c",
    "stdin": "convert - -s slt --codec CODEC",
}


@pytest.mark.parametrize("command", PROCESSES.values(), ids=PROCESSES)
def test_as_a_process(place: Path, tiny_codec: Path, command: str) -> None:
    before = contents(place)
    arguments = [sys.executable, "-m", "speechvq", *split(command, tiny_codec)]
    done = subprocess.run(arguments, input=b"", capture_output=True, timeout=600, check=False)
    assert done.returncode not in (0, FAULT)
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert done.stderr.strip().startswith(b"speechvq: ")
    assert b"\n" not in done.stderr.strip(), "one sentence"
    assert contents(place) == before
