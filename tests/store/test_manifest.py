"""Manifests: what is written is read, and a wrong line is named."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from speechvq.errors import BadManifest, WouldOverwrite
from speechvq.store.manifest import Entry, read_manifest, write_manifest

GOOD = {"path": "a.wav", "start": 0, "duration": 1.5, "speaker": "s", "utterance": "u", "split": "train"}


def entry(path: Path, **changes: object) -> Entry:
    return replace(Entry(str(path), 0.0, 1.5, "slt", "0001", "train"), **changes)  # pyright: ignore


def test_round_trip(tmp_path: Path) -> None:
    inside = entry(tmp_path / "wav" / "a.wav", text="Ça va \u2028 bien", alignment=str(tmp_path / "a.phn"))
    outside = entry(Path(os.sep, "elsewhere", "b.flac"), split="test", processing={"peak": 0.95})
    write_manifest(tmp_path / "m.jsonl", [inside, outside])
    assert read_manifest(tmp_path / "m.jsonl") == [inside, outside]


def test_folder_can_be_moved(tmp_path: Path) -> None:
    write_manifest(tmp_path / "one" / "m.jsonl", [entry(tmp_path / "one" / "wav" / "a.wav")])
    (tmp_path / "one").rename(tmp_path / "two")
    (moved,) = read_manifest(tmp_path / "two" / "m.jsonl")
    assert moved.path == str(tmp_path / "two" / "wav" / "a.wav")


def test_relative_to_the_manifest_not_to_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest("sub/m.jsonl", [entry(Path("sub/a.wav")), entry(Path("b.wav"))])
    monkeypatch.chdir(os.sep)
    paths = [e.path for e in read_manifest(tmp_path / "sub" / "m.jsonl")]
    assert paths == [str(tmp_path / "sub" / "a.wav"), str(tmp_path / "b.wav")]


def test_no_overwrite(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [entry(tmp_path / "a.wav")])
    with pytest.raises(WouldOverwrite):
        write_manifest(tmp_path / "m.jsonl", [])
    assert len(read_manifest(tmp_path / "m.jsonl")) == 1
    write_manifest(tmp_path / "m.jsonl", [entry(tmp_path / "a.wav")] * 2, force=True)
    assert len(read_manifest(tmp_path / "m.jsonl")) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": ""}, "path"),
        ({"path": None}, "path"),
        ({"speaker": 3}, "speaker"),
        ({"start": -1}, "start"),
        ({"start": "0"}, "start"),
        ({"duration": 0}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"duration": True}, "duration"),
        ({"split": "dev"}, "train, valid, test"),
        ({"text": 5}, "text"),
        ({"alignment": []}, "alignment"),
        ({"processing": "none"}, "processing"),
        ({"utt": "x"}, "unknown field 'utt'"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(GOOD | change) + "\n")
    with pytest.raises(BadManifest, match="line 3") as caught:
        read_manifest(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[1]", "3", "{}", '{"path": "a"}'])
def test_not_an_entry(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(BadManifest, match="line 1"):
        read_manifest(tmp_path / "m.jsonl")


def test_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    for name in ("missing", "empty", "binary", "."):
        with pytest.raises(BadManifest):
            read_manifest(tmp_path / name)
