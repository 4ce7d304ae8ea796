"""Damaged code files, and codec folders that are none."""

import gzip
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechvq.store.codes import StoredCodes, pack

from .sounds import WAV, noise, patched


def codes_of(codec: Path, *, grid: tuple[int, ...] = (30,), fingerprint: str | None = None) -> bytes:
    from speechvq import Codec

    made = fingerprint or Codec.from_pretrained(codec).fingerprint
    indices = torch.randint(0, 32, (1, 1, *grid))
    return pack(StoredCodes(indices, 32, 16000.0, 50.0, tuple(320 * n for n in grid), made))


def signed(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


BAD_CODES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "noise": lambda _: noise(500),
    "sound": lambda _: WAV,
    "text": lambda _: b"SVQ",
    "packed": gzip.compress,
    "longer": lambda data: data + b"\0",
    "twice": lambda data: data * 2,
    "version": lambda data: signed(patched(data, 8, b"\2")[:-4]),
    "huge": lambda data: signed(patched(data, 40, b"\xff" * 4)[:-4]),
    "no-axes": lambda data: signed(patched(data, 9, b"\0")[:-4]),
    "many-axes": lambda data: signed(patched(data, 9, b"\xff")[:-4]),
    "no-books": lambda data: signed(patched(data, 10, b"\0\0")[:-4]),
    "no-codes": lambda data: signed(patched(data, 12, b"\0" * 4)[:-4]),
    "another-size": lambda data: signed(patched(data, 12, struct.pack(">I", 33))[:-4]),
    "newlines": lambda data: data.replace(b"\r\n", b"\n"),
    **{f"cut-{n}": lambda data, n=n: data[:n] for n in (1, 7, 8, 20, 39, 40, 50, 60, -5, -1)},
    **{
        f"flip-{n}": lambda data, n=n: patched(data, n, bytes([data[n] ^ 1]))
        for n in (0, 4, 8, 9, 11, 15, 20, 30, 35, 43, 50, 55, -6, -1)
    },
}


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


BAD_CODEC: dict[str, Callable[[Path], object]] = {
    "missing": shutil.rmtree,
    "a-file": lambda f: (shutil.rmtree(f), f.write_bytes(b"codec")),
    "no-config": lambda f: (f / "config.json").unlink(),
    "empty-config": lambda f: (f / "config.json").write_text(""),
    "cut-config": lambda f: cut(f / "config.json", 100),
    "binary-config": lambda f: (f / "config.json").write_bytes(noise(200)),
    "list-config": lambda f: (f / "config.json").write_text("[1, 2]"),
    "nested-config": lambda f: (f / "config.json").write_text("[" * 100_000),
    "no-decoder": lambda f: edit_config(f, decoder=None),
    "another-room": lambda f: edit_config(f, room="os"),
    "list-room": lambda f: edit_config(f, room=[1]),
    "no-rate": lambda f: edit_config(f, rate="fast"),
    "zero-rate": lambda f: edit_config(f, rate=0),
    "unknown-encoder": lambda f: edit_config(f, encoder={"name": "ear"}),
    "nameless-encoder": lambda f: edit_config(f, encoder={}),
    "list-encoder": lambda f: edit_config(f, encoder=[]),
    "target-encoder": lambda f: edit_config(f, encoder={"_target_": "os.system", "command": "true"}),
    "negative-encoder": lambda f: edit_config(f, encoder={"name": "mel", "dim": -8}),
    "text-quantizer": lambda f: edit_config(f, quantizer={"name": "vector", "codebook_size": "many"}),
    "other-sizes": lambda f: edit_config(f, quantizer={"name": "vector", "codebook_size": 64}),
    "no-weights": lambda f: (f / "model.safetensors").unlink(),
    "folder-weights": lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()),
    "noise-weights": lambda f: (f / "model.safetensors").write_bytes(noise(5000)),
    "pickled-weights": lambda f: torch.save({"a": torch.zeros(2)}, f / "model.safetensors"),
    **{
        f"cut-weights-{n}": lambda f, n=n: cut(f / "model.safetensors", n) for n in (0, 7, 8, 500, 50_000, -1)
    },
}


@pytest.mark.parametrize("how", BAD_CODES)
def test_bad_codes(refused: Callable[..., str], tiny_codec: Path, how: str) -> None:
    Path("x.svq").write_bytes(BAD_CODES[how](codes_of(tiny_codec)))
    assert "x.svq" in refused("decode", "x.svq", "out.wav", "-s", "slt", "--codec", str(tiny_codec))


def test_codes_of_another_codec_or_kind(refused: Callable[..., str], tiny_codec: Path) -> None:
    command = ["decode", "x.svq", "out.wav", "-s", "slt", "--codec", str(tiny_codec)]
    Path("x.svq").write_bytes(codes_of(tiny_codec, fingerprint="0123456789abcdef"))
    assert "another codec" in refused(*command)
    for grid in ((0,), (3, 4), (2, 2, 2)):
        Path("x.svq").write_bytes(codes_of(tiny_codec, grid=grid))
        assert "no codes of sound" in refused(*command)


@pytest.mark.parametrize("verb", ["encode", "decode", "convert", "score"])
@pytest.mark.parametrize("how", BAD_CODEC)
def test_bad_codec(refused: Callable[..., str], tiny_codec: Path, how: str, verb: str) -> None:
    shutil.copytree(tiny_codec, "codec")
    Path("x.svq").write_bytes(codes_of(tiny_codec))
    BAD_CODEC[how](Path("codec"))
    command = {
        "encode": "encode a.wav out.svq --codec codec",
        "decode": "decode x.svq out.wav -s slt --codec codec",
        "convert": "convert a.wav out.wav -s slt --codec codec",
        "score": "score conversion good.jsonl --out out --codec codec",
    }
    refused(*command[verb].split())
