"""A made-up corpus of two voices, harmonics that wander, and the settings of a tiny run on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechvq.codec import Codec
from speechvq.store.arrays import Kind, write_arrays
from speechvq.store.manifest import Entry, write_manifest
from speechvq.train.checkpoint import Checkpoints


def hum(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """Harmonics of a pitch under a moving formant: enough like a voice to be learned from."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    track = pitch * (1 + 0.1 * np.sin(2 * np.pi * draw.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(track) / 16000
    centre = 1000 + 800 * np.sin(2 * np.pi * draw.uniform(2, 5) * time + draw.uniform(0, 6))
    wave = sum(np.exp(-(((k * track - centre) / 400) ** 2)) * np.sin(k * phase) for k in range(1, 20))
    return 0.2 * np.asarray(wave) + 0.001 * draw.standard_normal(len(time))


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings to train on and four held out, 0.5 to 1.7 s, of "ann" and "bob"."""
    folder = tmp_path_factory.mktemp("corpus")
    entries = []
    for i in range(16):
        name, pitch = ("ann", 200.0) if i % 2 else ("bob", 110.0)
        seconds = 0.5 + 0.08 * i
        soundfile.write(folder / f"{i}.wav", hum(pitch, seconds, i), 16000)
        split = "valid" if i in (4, 5, 10, 11) else "train"
        entries.append(Entry(str(folder / f"{i}.wav"), 0.0, seconds, name, f"u{i}", split))
    write_manifest(folder / "all.jsonl", entries)
    return folder / "all.jsonl"


@pytest.fixture(scope="session")
def codec(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a codec with random weights for the corpus's voices."""
    parts = tiny(manifest, Path())
    decoder = parts["model"]["decoder"] | {"speakers": ["ann", "bob"]}
    config = {"room": "speech", "rate": 16000, "quantizer": parts["quantizer"] | {"start": {"by": "normal"}}}
    folder = tmp_path_factory.mktemp("codec") / "codec"
    torch.manual_seed(0)
    Codec.build(config | {"encoder": parts["model"]["encoder"], "decoder": decoder}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 12 pictures of 16 x 16 to train on and 4 held out: a wall before a floor, near or far."""
    folder = tmp_path_factory.mktemp("pictures")
    kinds = {"picture": Kind((3, 16, 16)), "depth": Kind((1, 16, 16)), "segmentation": Kind((16, 16))}
    names = {"label": ("near", "far"), "segmentation": ("wall", "floor")}
    kinds |= {"label": Kind((), "int64")}
    with write_arrays(folder, {"train": 12, "valid": 4}, kinds, names=names) as arrays:
        for split in arrays.values():
            for i in range(len(split["label"])):
                edge, draw = 4 + i % 8, np.random.default_rng(i)
                split["label"][i] = edge < 8
                split["segmentation"][i] = np.arange(16)[:, None] >= edge
                split["depth"][i] = np.where(np.arange(16) < edge, 10 * edge, 200 - 8 * np.arange(16))[
                    :, None
                ]
                split["picture"][i] = split["depth"][i] + draw.integers(0, 40, (3, 16, 16))
    return folder


@pytest.fixture(scope="session")
def picture_codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a codec of pictures with random weights, 4 x 4 pixels a code."""
    folder = tmp_path_factory.mktemp("picture_codec") / "codec"
    torch.manual_seed(0)
    parts = {
        "encoder": {"name": "vqvae", "dim": 8, "size": "tiny"},
        "decoder": {"name": "vqvae", "size": "tiny"},
    }
    quantizer = {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}}
    Codec.build({"room": "image", "rate": 1, "quantizer": quantizer} | parts).save_pretrained(folder)
    return folder


@pytest.fixture
def config(manifest: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return tiny(manifest, tmp_path / "run")


def tiny(manifest: Path, folder: Path) -> dict[str, Any]:
    """See `config`."""
    return {
        "folder": str(folder),
        "model": {
            "encoder": {"name": "mel", "dim": 8, "channels": 8, "dilations": [1]},
            "decoder": {"name": "spectral", "speakers": "auto", "size": "tiny", "voice_channels": 8},
        },
        "quantizer": {"name": "vector", "codebook_size": 16},
        "data": {"manifest": str(manifest), "seconds": 0.4, "valid_seconds": 0.6},
        "objective": {"name": "codec"},
        "optimiser": {"lr": 2e-3, "warmup": 5},
        "runtime": {
            "steps": 12, "batch_size": 4, "accelerator": "cpu", "ema": 0.9,
            "log_every": 4, "valid_every": 6, "save_every": 4,
        },
    }  # fmt: skip


class Runs:
    """What the tests of runs ask and change."""

    @staticmethod
    def lines(folder: Path | str, split: str) -> list[dict[str, Any]]:
        """The logged figures of "train" or "valid"."""
        read = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
        return [line for line in read if line["split"] == split]

    @staticmethod
    def having(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The settings with some replaced; ``runtime__steps=3`` reaches into a group."""
        made = json.loads(json.dumps(config))
        for name, value in changes.items():
            *path, last = name.split("__")
            place = made
            for part in path:
                place = place[part]
            place[last] = value
        return made

    @staticmethod
    def state(folder: Path | str) -> dict[str, Any]:
        """The latest checkpoint."""
        return Checkpoints(Path(folder) / "checkpoints").load()

    @classmethod
    def same(cls, a: Any, b: Any, where: str = "") -> None:
        """Bit for bit."""
        assert type(a) is type(b), where
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b), where
        elif isinstance(a, dict):
            assert a.keys() == b.keys(), where
            for key in a:
                cls.same(a[key], b[key], f"{where}.{key}")
        elif isinstance(a, (list, tuple)):
            assert len(a) == len(b), where
            for i, (one, other) in enumerate(zip(a, b, strict=True)):
                cls.same(one, other, f"{where}[{i}]")
        else:
            assert a == b, where


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    """See `Runs`."""
    return Runs
