"""Sound files that cannot be used, and some that are odd but fine."""

import gzip
import io
import struct

import numpy as np
import soundfile

RATE = 16000


def tone(seconds: float = 0.6, *, channels: int = 1, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 170 * time * (1 + 0.2 * time))
    wave += 0.01 * np.random.default_rng(0).standard_normal(len(time))
    return np.repeat(wave[:, None], channels, axis=1)


def sound(
    form: str = "WAV", subtype: str = "PCM_16", *, rate: int = RATE, channels: int = 1, wave=None
) -> bytes:
    """The bytes of a sound file."""
    file = io.BytesIO()
    samples = tone(rate=rate, channels=channels) if wave is None else wave
    soundfile.write(file, samples, rate, subtype, format=form)
    return file.getvalue()


def noise(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def spoiled(value: float, where: slice) -> bytes:
    wave = tone().astype(np.float32)
    wave[where] = value
    return sound(subtype="FLOAT", wave=wave)


WAV, FLAC, OGG = sound(), sound("FLAC"), sound("OGG", "VORBIS")
MP3 = sound("MP3", "MPEG_LAYER_III")

BAD_SOUND: dict[str, bytes] = {
    "empty.wav": b"",
    "empty.flac": b"",
    "empty.mp3": b"",
    "byte.wav": b"R",
    "noise.wav": noise(1000),
    "noise-long.wav": noise(100_000),
    "noise.flac": noise(5000),
    "noise.ogg": noise(5000),
    "noise.mp3": noise(3),
    "zeros.wav": bytes(10_000),
    "text.wav": b"This is a letter, not a recording.\n" * 20,
    "page.mp3": b"<!doctype html><html><body>404</body></html>",
    "json.flac": b'{"path": "a.wav"}',
    "packed.wav": gzip.compress(WAV),
    "picture.wav": b"\x89PNG\r\n\x1a\n" + noise(400),
    "riff.wav": b"RIFF",
    "riff-wave.wav": WAV[:12],
    "no-data.wav": WAV[:36],
    "cut-20.wav": WAV[:20],
    "cut-43.wav": WAV[:43],
    "header-only.wav": WAV[:44],
    "cut-half.wav": WAV[: len(WAV) // 2],
    "cut-end.wav": WAV[:-4000],
    "cut-10.flac": FLAC[:10],
    "cut-half.flac": FLAC[: len(FLAC) // 2],
    "cut-most.flac": FLAC[: len(FLAC) * 9 // 10],
    "cut-100.ogg": OGG[:100],
    "cut-half.ogg": OGG[: len(OGG) // 2],
    "magic.flac": b"fLaC",
    "magic.ogg": b"OggS",
    "broken.flac": patched(FLAC, len(FLAC) // 2, noise(3000)),
    "no-samples.wav": sound(wave=np.zeros((0, 1))),
    "one-sample.wav": sound(wave=np.full((1, 1), 0.5)),
    "ten-samples.wav": sound(wave=np.linspace(-0.5, 0.5, 10)[:, None]),
    "hop-less-one.wav": sound(wave=tone()[:319]),
    "silent.wav": sound(wave=np.zeros((8000, 1))),
    "constant.wav": sound(wave=np.full((8000, 1), 0.25)),
    "nan.wav": spoiled(np.nan, slice(None)),
    "nan-first.wav": spoiled(np.nan, slice(0, 1)),
    "nan-last.wav": spoiled(np.nan, slice(-1, None)),
    "infinite.wav": spoiled(np.inf, slice(100, 101)),
    "minus-infinite.wav": spoiled(-np.inf, slice(5000, 5001)),
    "integers-as-floats.wav": spoiled(20_000.0, slice(50, 90)),
    "three-channels.wav": sound(channels=3),
    "eight-channels.wav": sound(channels=8),
    "rate-zero.wav": patched(WAV, 24, struct.pack("<I", 0)),
    "rate-one.wav": patched(WAV, 24, struct.pack("<I", 1)),
    "rate-100.wav": sound(rate=100, wave=tone()),
    "no-channels.wav": patched(WAV, 22, struct.pack("<H", 0)),
    "no-bits.wav": patched(WAV, 34, struct.pack("<H", 0)),
    "unknown-coding.wav": patched(WAV, 20, struct.pack("<H", 0x9999)),
}

ODD_SOUND: dict[str, bytes] = {
    "96k.wav": sound(rate=96_000),
    "44k.wav": sound(rate=44_100),
    "11k.wav": sound(rate=11_025),
    "8k.wav": sound(rate=8000),
    "8-bit.wav": sound(subtype="PCM_U8"),
    "24-bit.wav": sound(subtype="PCM_24"),
    "32-bit.wav": sound(subtype="PCM_32"),
    "float.wav": sound(subtype="FLOAT"),
    "double.wav": sound(subtype="DOUBLE"),
    "mu-law.wav": sound(subtype="ULAW"),
    "a-law.wav": sound(subtype="ALAW"),
    "extensible.wav": sound("WAVEX"),
    "stereo.wav": sound(channels=2),
    "stereo-96k.flac": sound("FLAC", "PCM_24", rate=96_000, channels=2),
    "8-bit.flac": sound("FLAC", "PCM_S8"),
    "vorbis.ogg": OGG,
    "opus.opus": sound("OGG", "OPUS"),
    "layer3.mp3": MP3,
    "quiet.wav": sound(subtype="FLOAT", wave=2e-3 * tone()),
    "clipped.wav": sound(wave=np.clip(10 * tone(), -1, 1)),
    "offset.wav": sound(wave=tone() + 0.5),
    "one-hop.wav": sound(wave=tone()[:320]),
    "SHOUTED.WAV": WAV,
    "two words.wav": WAV,
    "grüße-你好.wav": WAV,
    "-dash.wav": WAV,
    "extra-chunk.wav": patched(WAV, 4, struct.pack("<I", len(WAV) + 8)) + b"LIST\x08\0\0\0INFOabcd",
}
