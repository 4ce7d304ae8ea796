"""Sound files, damaged and odd, one by one, by the folder, and from standard input."""

import gzip
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speechvq.cli import main
from speechvq.speech.audio import facts
from speechvq.store.codes import read_codes

from .sounds import BAD_SOUND, ODD_SOUND, WAV, noise


@pytest.mark.parametrize("verb", ["encode", "convert", "prepare"])
@pytest.mark.parametrize("name", BAD_SOUND)
def test_bad_sound(refused: Callable[..., str], tiny_codec: Path, name: str, verb: str) -> None:
    Path("in/slt").mkdir(parents=True)
    source = Path("in/slt") / name
    source.write_bytes(BAD_SOUND[name])
    codec = ["--codec", str(tiny_codec)]
    Path("out.wav").write_bytes(b"there before")
    if verb == "encode":
        said = refused("encode", str(source), "out/new.svq", *codec)
    elif verb == "convert":
        said = refused("convert", str(source), "out.wav", "-s", "slt", "--force", *codec)
    else:
        said = refused("prepare", "folder", "in", "--out", "out", "--shortest", "0.03")
    assert name in said or verb == "prepare"


@pytest.mark.parametrize("verb", ["encode", "convert"])
@pytest.mark.parametrize("kind", ["folder.wav", "nowhere.wav", "circle.wav", "pipe.svq"])
def test_what_is_no_file(refused: Callable[..., str], tiny_codec: Path, kind: str, verb: str) -> None:
    path = Path(kind)
    if kind == "folder.wav":
        path.mkdir()
    elif kind == "nowhere.wav":
        path.symlink_to("missing.wav")
    elif kind == "circle.wav":
        path.symlink_to("circle.wav")
    refused(verb, kind, "out.wav", "--codec", str(tiny_codec), *(["-s", "slt"] if verb == "convert" else []))


@pytest.mark.parametrize("name", ODD_SOUND)
def test_odd_sound_works(place: Path, tiny_codec: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    source = Path("in") / name
    source.parent.mkdir()
    source.write_bytes(ODD_SOUND[name])
    codec = ["--codec", str(tiny_codec)]
    assert main(["encode", str(source), "out.svq", *codec]) == 0, capfd.readouterr().err
    assert main(["convert", str(source), "out.wav", "-s", "slt", *codec]) == 0
    assert main(["encode", "in", "out", *codec]) == 0
    frames = read_codes("out.svq").grid[0]
    assert frames == (1 if name == "one-hop.wav" else pytest.approx(30, abs=3))
    assert facts("out.wav").frames == 320 * frames
    assert read_codes(Path("out") / f"{Path(name).stem}.svq").grid == (frames,)
    assert not list(Path("tmp").iterdir())


def test_a_folder_with_everything(place: Path, tiny_codec: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    for name, data in (BAD_SOUND | ODD_SOUND).items():
        (Path("in") / name).write_bytes(data)
    assert main(["encode", "in", "out", "--codec", str(tiny_codec)]) == 1
    assert f"{len(ODD_SOUND)} done, {len(BAD_SOUND)} skipped" in capfd.readouterr().err
    assert len(list(Path("out").iterdir())) == len(ODD_SOUND)
    assert main(["encode", "in", "out2", "--bad", "skip", "--codec", str(tiny_codec)]) == 0


STDIN = {
    "nothing": b"",
    "noise": noise(3000),
    "text": b"hello\n",
    "cut": WAV[: len(WAV) // 2],
    "nan": BAD_SOUND["nan.wav"],
    "short": BAD_SOUND["ten-samples.wav"],
    "packed": gzip.compress(WAV),
    "codes": b"\x89SVQ\r\n\x1a\n" + noise(60),
}


@pytest.mark.parametrize("verb", ["encode", "decode", "convert"])
@pytest.mark.parametrize("how", STDIN)
def test_bad_stdin(
    refused: Callable[..., str], tiny_codec: Path, monkeypatch: pytest.MonkeyPatch, how: str, verb: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(STDIN[how])))
    voice = [] if verb == "encode" else ["-s", "slt"]
    assert "tmp" not in refused(verb, "-", "out.wav", *voice, "--codec", str(tiny_codec))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
@pytest.mark.parametrize("verb", ["encode", "convert", "prepare"])
def test_no_permission(refused: Callable[..., str], tiny_codec: Path, verb: str) -> None:
    Path("locked").mkdir(mode=0o500)
    command = {
        "encode": ["encode", "a.wav", "locked/a.svq", "--codec", str(tiny_codec)],
        "convert": ["convert", "a.wav", "locked/a.wav", "-s", "slt", "--codec", str(tiny_codec)],
        "prepare": ["prepare", "folder", "tree", "--out", "locked/new"],
    }
    assert "permission" in refused(*command[verb])
