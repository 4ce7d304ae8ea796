"""Streams: ids of joint codes, phones at frame centres, and recordings through a real codec."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq.codec import Codec
from speechvq.errors import BadAudio, BadSetting
from speechvq.score.streams import Stream, code_vectors, encode_streams
from speechvq.speech.audio import read_audio, write_audio
from speechvq.store.alignments import Interval
from speechvq.store.manifest import Entry


def made(codes: np.ndarray, **named: object) -> Stream:
    return Stream("s", "slt", codes, 50.0, 1.0, **named)  # type: ignore[arg-type]


def test_one_codebook_gives_its_codes():
    codes = np.random.randint(0, 9, (7, 1))
    assert made(codes).units.tolist() == codes[:, 0].tolist()
    assert made(codes.astype(np.uint16)).units.dtype == np.int64
    assert made(np.zeros((0, 1), dtype=np.int64)).units.shape == (0,)


def test_joint_units_are_equal_only_where_all_codes_are():
    codes = np.random.randint(0, 5, (200, 3))
    units = made(codes, codebook_size=5).units
    for i in range(0, 200, 7):
        assert [u == units[i] for u in units] == [bool((c == codes[i]).all()) for c in codes]
    assert units[0] == codes[0, 0] * 25 + codes[0, 1] * 5 + codes[0, 2]
    largest = made(np.full((1, 7), 511), codebook_size=512).units
    assert largest.tolist() == [2**63 - 1]


def test_impossible_streams_are_refused_in_words():
    with pytest.raises(BadSetting, match="need the codebook size"):
        _ = made(np.zeros((2, 2), dtype=np.int64)).units
    with pytest.raises(BadSetting, match="too many joint units"):
        _ = made(np.zeros((2, 8), dtype=np.int64), codebook_size=1024).units
    with pytest.raises(BadSetting, match=r"shape \(T, K\)"):
        made(np.zeros(4, dtype=np.int64))
    with pytest.raises(BadSetting, match="must be integers"):
        made(np.zeros((4, 1)))
    with pytest.raises(BadSetting, match=r"latents of s must be \(4, D\)"):
        made(np.zeros((4, 1), dtype=np.int64), latents=np.zeros((5, 2)))
    with pytest.raises(BadSetting, match="duration above 0"):
        Stream("s", "slt", np.zeros((4, 1), dtype=np.int64), 50.0, 0.0)


def test_phones_are_those_at_the_centres_of_frames():
    cuts = np.sort(np.random.rand(12))
    phones = tuple(  # with a gap after every third
        Interval(f"p{i}", float(a), float(b if i % 3 else (a + b) / 2))
        for i, (a, b) in enumerate(zip(cuts[:-1], cuts[1:], strict=True))
    )
    stream = made(np.zeros((50, 1), dtype=np.int64), phones=phones)
    found = stream.phone_frames()
    for frame, label in enumerate(found):
        time = (frame + 0.5) / 50
        assert label == next((p.label for p in phones if p.start <= time < p.end), None)
    assert len(found) == 50
    assert made(np.zeros((3, 1), dtype=np.int64)).phone_frames() == [None] * 3
    assert made(np.zeros((3, 1), dtype=np.int64), phones=()).phone_frames() == [None] * 3


@pytest.fixture(scope="module")
def codec(tiny_codec: Path) -> Codec:
    return Codec.from_pretrained(tiny_codec)


def test_streams_are_the_codes_of_the_codec(codec: Codec, entries: list[Entry]):
    phones = (Interval("ay", 0.1, 0.4),)
    codec.train()
    streams = encode_streams(codec, entries, {2: phones}, vectors=True, progress=False)
    assert codec.training
    codec.eval()
    assert [s.name for s in streams] == ["slt/s1", "rms/s1", "slt/s2", "rms/s2"]
    assert [s.speaker for s in streams] == ["slt", "rms", "slt", "rms"]
    assert [s.phones for s in streams] == [None, None, phones, None]
    for stream, entry in zip(streams, entries, strict=True):
        wave = read_audio(entry.path)[None]
        codes = codec.encode(wave).indices
        assert stream.codes.T.tolist() == codes[0].tolist()
        assert (stream.frame_rate, stream.seconds, stream.codebook_size) == (50.0, entry.duration, 32)
        assert stream.latents is not None
        assert stream.quantized is not None
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(stream.latents.T)[None], codec.encoder(wave))
        assert np.array_equal(stream.quantized, code_vectors(codec)[stream.units])
        assert stream.latents.dtype == stream.quantized.dtype == np.float32
    plain = encode_streams(codec, entries, progress=False)[0]
    assert plain.latents is None
    assert plain.quantized is None


def test_a_batch_changes_nothing_but_the_ends(codec: Codec, entries: list[Entry]):
    alone = encode_streams(codec, entries, vectors=True, progress=False)
    batched = encode_streams(codec, entries, vectors=True, progress=False, batch=3)
    for one, many in zip(alone, batched, strict=True):
        assert one.codes.shape == many.codes.shape
        inside = slice(0, len(one) - 4)
        assert one.latents is not None
        assert many.latents is not None
        np.testing.assert_allclose(one.latents[inside], many.latents[inside], atol=1e-4)


def test_several_codebooks_and_parts_of_a_recording(tiny_codec: Path, entries: list[Entry]):
    config = Codec.from_pretrained(tiny_codec).config
    config["quantizer"] = {"name": "residual", "codebook_size": 16, "num_codebooks": 2}
    codec = Codec.build(config).eval()
    part = Entry(entries[0].path, 0.5, 0.8, "slt", "s1", "test")
    streams = encode_streams(codec, [part, part], vectors=True, progress=False)
    assert [s.name for s in streams] == ["slt/s1", "slt/s1-2"]
    expected = codec.encode(read_audio(part.path, start=0.5, duration=0.8)[None]).indices[0]
    assert streams[0].codes.T.tolist() == expected.tolist()
    assert streams[0].units.tolist() == (expected[0] * 16 + expected[1]).tolist()
    with pytest.raises(BadSetting, match="need one codebook"):
        code_vectors(codec)


def test_recordings_that_cannot_be_encoded(codec, tmp_path, caplog, entries):
    write_audio(tmp_path / "short.wav", torch.rand(1, 200) - 0.5, 16000)
    short = Entry(str(tmp_path / "short.wav"), 0.0, 0.0125, "slt", "short", "test")
    with caplog.at_level(logging.WARNING):
        streams = encode_streams(codec, [short, entries[0]], {1: ()}, progress=False)
    assert [s.name for s in streams] == ["slt/s1"]
    assert streams[0].phones == ()
    assert "short.wav is left out" in caplog.text
    with pytest.raises(BadAudio, match="does not exist"):
        encode_streams(codec, [Entry("gone.wav", 0.0, 1.0, "slt", "gone", "test")], progress=False)
    with pytest.raises(BadSetting, match="at least one recording"):
        encode_streams(codec, entries, batch=0)
