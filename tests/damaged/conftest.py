"""A folder with good and bad files, and the check that a command line fails as it should."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from speechvq.cli import FAULT, main

from .place import contents
from .sounds import WAV
from .test_manifests import ENTRY, lines


@pytest.fixture
def place(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with good and bad files, where temporary files are made too."""
    Path("a.wav").write_bytes(WAV)
    Path("a2.wav").write_bytes(WAV)
    Path("bad.wav").write_bytes(b"")
    Path("b.svq").write_bytes(b"there before")
    Path("tree/slt").mkdir(parents=True)
    Path("tree/slt/a.wav").write_bytes(WAV)
    Path("hollow").mkdir()
    Path("good.jsonl").write_bytes(lines(ENTRY, ENTRY | {"split": "test"}))
    Path("tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(workdir / "tmp"))
    return workdir


@pytest.fixture
def refused(place: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must fail: in a sentence, and leaving everything as it was."""

    def check(*arguments: str) -> str:
        before = contents(place)
        code = main(list(arguments))
        shown = capfd.readouterr()
        assert code not in (0, FAULT), f"exit code {code}: {shown.err}{shown.out}"
        assert "Traceback" not in shown.err + shown.out
        assert (shown.err + shown.out).strip(), "a sentence must say what was wrong"
        assert contents(place) == before, "nothing may be left behind or changed"
        return shown.err

    return check
