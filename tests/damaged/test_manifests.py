"""Manifests that cannot be read, and recordings in them that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .sounds import WAV, noise

ENTRY = {
    "path": "a.wav",
    "start": 0.0,
    "duration": 0.6,
    "speaker": "slt",
    "utterance": "u",
    "split": "train",
    "text": "hello",
}


def lines(*entries: object) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


BAD_MANIFEST: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n",
    "noise": noise(300),
    "sound": WAV,
    "cut": lines(ENTRY)[:-20],
    "list": b"[1, 2]\n",
    "comma": lines(ENTRY) + b",\n",
    "missing-field": lines({k: v for k, v in ENTRY.items() if k != "speaker"}),
    "unknown-field": lines(ENTRY | {"colour": "red"}),
    "text-duration": lines(ENTRY | {"duration": "long"}),
    "negative": lines(ENTRY | {"start": -1}),
    "no-length": lines(ENTRY | {"duration": 0}),
    "nan": lines(ENTRY | {"duration": float("nan")}),
    "number-speaker": lines(ENTRY | {"speaker": 3}),
    "another-split": lines(ENTRY | {"split": "holiday"}),
    "no-recording": lines(ENTRY | {"path": "none.wav"}, ENTRY | {"path": "none.wav", "split": "test"}),
    "beyond": lines(ENTRY | {"start": 90.0}, ENTRY | {"start": 90.0, "split": "test"}),
    "bad-recording": lines(ENTRY | {"path": "bad.wav"}, ENTRY | {"path": "bad.wav", "split": "test"}),
}


@pytest.mark.parametrize("verb", ["score", "train"])
@pytest.mark.parametrize("how", [*BAD_MANIFEST, "folder", "missing"])
def test_bad_manifest(refused: Callable[..., str], tiny_codec: Path, how: str, verb: str) -> None:
    if how == "folder":
        Path("m.jsonl").mkdir()
    elif how != "missing":
        Path("m.jsonl").write_bytes(BAD_MANIFEST[how])
    if verb == "score":
        refused("score", "conversion", "m.jsonl", "--out", "out", "--codec", str(tiny_codec))
    else:
        refused("train", "experiment=speech_tiny", "data.manifest=m.jsonl", "folder=out", "runtime.steps=1")
