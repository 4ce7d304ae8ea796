"""Reading, streaming and writing sound; every kind of bad recording is named with its reason."""

import io
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechvq.errors import BadAudio, BadSetting, WouldOverwrite
from speechvq.speech.audio import AUDIO_SUFFIXES, AudioWriter, Checks, blocks, facts, read_audio, write_audio

RATE = 16000


def voice(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """A decaying, gliding tone with a little noise: (n, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels)) * 0.01
    return (0.4 * np.sin(2 * np.pi * (150 + 40 * time) * time)[:, None] + noise).astype(np.float32)


def store(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **options: Any) -> Path:
    if path.suffix == ".opus":
        options = {"format": "OGG", "subtype": "OPUS"} | options
    soundfile.write(str(path), voice(rate=rate) if samples is None else samples, rate, **options)
    return path


def reason(path: Path | str, **options: Any) -> str:
    """The reason with which a recording is refused, the same whole and in blocks."""
    with pytest.raises(BadAudio) as whole:
        read_audio(path, **options)
    if not set(options) - {"checks"}:
        with pytest.raises(BadAudio) as parts:
            list(blocks(path, **options))
        assert parts.value.reason == whole.value.reason
    assert str(path) in str(whole.value)
    return whole.value.reason


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_format_is_written_and_read(tmp_path: Path, suffix: str) -> None:
    wave = torch.from_numpy(voice(2.0).T)
    write_audio(tmp_path / f"x{suffix}", wave, RATE)
    back = read_audio(tmp_path / f"x{suffix}")
    assert back.dtype == torch.float32
    assert back.shape == wave.shape
    assert torch.corrcoef(torch.cat((back, wave)))[0, 1] > 0.99
    if suffix in (".wav", ".flac"):
        assert (back - wave).abs().max() < 1 / 32768
    assert [p.name for p in tmp_path.iterdir()] == [f"x{suffix}"]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_blocks_are_the_whole(tmp_path: Path, rate: int, suffix: str) -> None:
    path = store(tmp_path / f"x{suffix}", voice(2.3, rate, channels=2), rate)
    whole = read_audio(path)
    parts = list(blocks(path, seconds=0.31))
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert {p.shape[1] for p in parts[:-1]} == {round(0.31 * RATE)}
    assert abs(whole.shape[1] - 2.3 * RATE) <= 1


def test_resampling_keeps_the_wave(tmp_path: Path) -> None:
    time = np.arange(48000) / 48000
    path = store(tmp_path / "x.wav", 0.5 * np.sin(2 * np.pi * 440 * time), 48000)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE)
    assert (read_audio(path)[0] - expected)[500:-500].abs().max() < 1e-3


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    two = voice(0.5, channels=2)
    path = store(tmp_path / "x.wav", two, subtype="FLOAT")
    assert np.allclose(read_audio(path)[0].numpy(), two.mean(axis=1), atol=1e-7)
    assert reason(path, checks=Checks(channels=1)) == "has 2 channels"


def test_part_of_a_recording(tmp_path: Path) -> None:
    path = store(tmp_path / "x.flac", voice(2.0))
    whole = read_audio(path)
    assert torch.equal(read_audio(path, start=0.5, duration=0.25), whole[:, 8000:12000])
    assert torch.equal(read_audio(path, start=1.5), whole[:, 24000:])
    assert read_audio(path, start=1.0, duration=1.005).shape == (1, 16000)  # rounded times may pass the end
    assert reason(path, start=1.0, duration=1.5) == "is shorter than the part asked for"
    assert reason(path, start=5.0) == "is shorter than the part asked for"
    assert reason(path, start=-1.0) == "is shorter than the part asked for"


def test_silent_part_is_a_pause_but_silent_recording_is_refused(tmp_path: Path) -> None:
    samples = voice(1.0)
    samples[:8000] = 0
    path = store(tmp_path / "x.wav", samples)
    assert read_audio(path, duration=0.4).abs().max() == 0
    assert reason(store(tmp_path / "y.wav", np.full(8000, 0.2))) == "is silent"
    assert read_audio(tmp_path / "y.wav", checks=Checks(silence=False)).shape == (1, 8000)


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_not_audio(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    assert reason(path) == "does not exist"
    path.touch()
    assert reason(path) == "is empty"
    path.write_text("This is a text, whatever its name says.\n" * 300)
    assert reason(path) == "is damaged or not audio in a format we read"
    path.write_bytes(np.random.default_rng(1).bytes(30000))
    assert reason(path) == "is damaged or not audio in a format we read"
    assert reason(tmp_path) == "is not a file"
    assert reason(store(tmp_path / "x.wav").rename(tmp_path / "x.raw")).startswith("is damaged")


@pytest.mark.parametrize("keep", [0.97, 0.5, 0.05])
@pytest.mark.parametrize("suffix", [*AUDIO_SUFFIXES, ".aiff", ".sph"])
def test_truncated(tmp_path: Path, suffix: str, keep: float) -> None:
    options = {"format": "NIST", "subtype": "PCM_16"} if suffix == ".sph" else {}
    path = store(tmp_path / f"x{suffix}", voice(3.0), **options)
    read_audio(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "truncated" in reason(path) or "damaged" in reason(path)
    if suffix in (".wav", ".sph") and keep > 0.1:
        assert reason(path) == "is truncated"


def mp3_without_length(path: Path, seconds: float, **options: int | bool) -> Path:
    """What streaming encoders leave: MPEG frames and nothing else."""
    av = pytest.importorskip("av")
    samples, size = voice(seconds, 44100).T, 1152
    samples[:, size : samples.shape[1] // 2] *= 1e-3  # a quiet stretch takes few bits
    with av.open(str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="mono")
        for name, value in options.items():
            setattr(stream.codec_context, name, value)
        for at in range(0, samples.shape[1] - size, size):
            piece = np.ascontiguousarray(samples[:, at : at + size])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_mp3_without_its_length(tmp_path: Path) -> None:
    constant = mp3_without_length(tmp_path / "c.mp3", 20.0, bit_rate=64000)
    assert abs(read_audio(constant).shape[1] / RATE - 20.0) < 0.1
    constant.write_bytes(constant.read_bytes()[:-50])
    assert reason(constant) == "is truncated"
    variable = mp3_without_length(tmp_path / "v.mp3", 20.0, global_quality=118 * 6, qscale=True)
    try:
        assert abs(read_audio(variable).shape[1] / RATE - 20.0) < 0.1
    except BadAudio as error:
        assert "variable rate" in error.reason  # noqa: PT017 (a decoder may know its length, or not)


def test_wav_of_unknown_length_is_not_truncated(tmp_path: Path) -> None:
    path = store(tmp_path / "x.wav")
    expected = read_audio(path)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 0xFFFFFFFF)  # what a program that writes into a pipe leaves there
    path.write_bytes(content)
    assert torch.equal(read_audio(path), expected)


def test_chunks_around_the_samples(tmp_path: Path) -> None:
    path = store(tmp_path / "x.wav")
    content = path.read_bytes()
    note = b"LIST" + struct.pack("<I", 5) + b"notes\0"
    path.write_bytes(content[:36] + note + content[36:] + note)
    assert read_audio(path).shape == (1, RATE)
    path.write_bytes(content[:36] + note + content[36:-2])
    assert reason(path) == "is truncated"
    assert read_audio(store(tmp_path / "y.wav", format="RF64")).shape == (1, RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(tmp_path: Path, value: float) -> None:
    samples = voice(9.0)
    samples[140000] = value
    path = store(tmp_path / "x.wav", samples, subtype="FLOAT")
    assert reason(path) == "contains NaN or infinite samples"
    assert read_audio(path, duration=1.0).isfinite().all()


def test_refused_by_option(tmp_path: Path) -> None:
    assert reason(store(tmp_path / "six.wav", voice(channels=6))) == "has 6 channels"
    eight = store(tmp_path / "eight.wav", subtype="PCM_U8")
    assert read_audio(eight).shape == (1, RATE)
    assert reason(eight, checks=Checks(eight_bit=False)) == "has only 8 bits a sample"
    assert reason(eight, checks=Checks(shortest=1.5)) == "is shorter than 1.5 s"
    integers = store(tmp_path / "integers.wav", voice() * 32768, subtype="FLOAT")
    assert reason(integers) == "has samples far outside -1 to 1"
    assert reason(store(tmp_path / "none.wav", voice(0))) == "has no samples"
    assert reason(store(tmp_path / "slow.wav", rate=2000)) == "has a sample rate below 4000 Hz"
    mono = store(tmp_path / "mono.wav")
    assert reason(mono, checks=Checks(channels=2)) == "has 1 channel"


@pytest.mark.parametrize(
    "values", [{"channels": 3}, {"shortest": -1.0}, {"loudest": 0.0}, {"lowest_rate": 0}]
)
def test_impossible_checks(values: dict) -> None:
    with pytest.raises(BadSetting):
        Checks(**values)


def test_bad_settings_of_reading(tmp_path: Path) -> None:
    path = store(tmp_path / "x.wav")
    with pytest.raises(BadSetting):
        read_audio(path, sample_rate=0)
    with pytest.raises(BadSetting):
        list(blocks(path, seconds=0))


def test_facts(tmp_path: Path) -> None:
    found = facts(store(tmp_path / "x.wav", voice(0.5, 48000, 2), 48000))
    assert (found.frames, found.rate, found.channels, found.duration) == (24000, 48000, 2, 0.5)
    with pytest.raises(BadAudio):
        facts(tmp_path / "missing.wav")


def test_memory_of_blocks_does_not_grow(tmp_path: Path) -> None:
    import tracemalloc

    path = store(tmp_path / "long.flac", np.tile(voice(10.0, 48000), (30, 1)), 48000)
    tracemalloc.start()
    count = sum(block.shape[1] for block in blocks(path, seconds=1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300 * RATE
    assert peak < 4e6  # the whole would be 19 MB


def standard(content: bytes = b"") -> io.TextIOWrapper:
    """A stream of the kind of sys.stdin and sys.stdout, with its bytes in memory."""
    return io.TextIOWrapper(io.BytesIO(content))


def test_standard_input_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "x.flac")
    for read in (lambda: read_audio("-"), lambda: torch.cat(list(blocks("-")), dim=1)):
        monkeypatch.setattr(sys, "stdin", standard(path.read_bytes()))
        assert torch.equal(read(), read_audio(path))
    out = standard()
    monkeypatch.setattr(sys, "stdout", out)
    write_audio("-", read_audio(path), RATE)
    (tmp_path / "y.wav").write_bytes(out.buffer.getvalue())
    assert torch.equal(read_audio(tmp_path / "y.wav"), read_audio(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe(tmp_path: Path) -> None:
    path, pipe = store(tmp_path / "x.wav"), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    assert torch.equal(read_audio(pipe), read_audio(path))
    writer.join()


def test_writer_piece_by_piece(tmp_path: Path) -> None:
    wave = torch.from_numpy(voice(6.0).T)
    with AudioWriter(tmp_path / "x.wav", RATE) as writer:
        for piece in wave.split(7001, dim=1):
            writer.write(piece)
        assert not (tmp_path / "x.wav").exists()
    write_audio(tmp_path / "y.wav", wave, RATE)
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "y.wav").read_bytes()


def test_writing_clips_and_does_not_wrap(tmp_path: Path) -> None:
    write_audio(tmp_path / "x.wav", torch.tensor([[-3.0, 3.0, 0.5]]), RATE)
    assert read_audio(tmp_path / "x.wav")[0].tolist() == pytest.approx([-1.0, 1.0, 0.5], abs=1e-4)


def test_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = torch.from_numpy(voice().T)
    with pytest.raises(BadAudio, match="NaN"):
        write_audio(tmp_path / "x.wav", wave * torch.nan, RATE)
    with pytest.raises(BadSetting, match=r"\.flac"):
        write_audio(tmp_path / "x.xyz", wave, RATE)
    with pytest.raises(BadSetting, match="OPUS"):
        write_audio(tmp_path / "x.opus", wave, 11025)
    assert list(tmp_path.iterdir()) == []
    write_audio(tmp_path / "x.wav", wave, RATE)
    before = (tmp_path / "x.wav").read_bytes()
    with pytest.raises(WouldOverwrite):
        write_audio(tmp_path / "x.wav", wave * 0.5, RATE, force=False)
    with pytest.raises(BadAudio):
        write_audio(tmp_path / "x.wav", wave * torch.nan, RATE)
    assert (tmp_path / "x.wav").read_bytes() == before
    out = standard()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(BadAudio):
        write_audio("-", wave * torch.nan, RATE)
    assert out.buffer.getvalue() == b""
