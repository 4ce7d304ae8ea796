"""Sound that is still coming: a WAV or raw stream, of which nobody knows the length.

A stream that begins with RIFF is a WAV (PCM of 8, 16, 24 or 32 bits, or floats; the lengths in its header
are believed only where they can be true, as programs that write to a pipe do not know them). Anything
else is raw: 16-bit little-endian samples of one channel at the rate that is asked for.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soxr
import torch
from torch import Tensor

from speechvq.errors import BadAudio

RIFF = 12  # bytes: "RIFF", a length, "WAVE"
UNKNOWN = 0x7FFF0000  # lengths from here on, and 0, are what programs write who do not know them
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True)
class Format:
    """How samples lie in a stream.

    Attributes:
        rate: Hz.
        channels: averaged into one.
        bits: of a sample.
        floats: whether they are floats.
        wav: whether it came with a header.
        length: bytes of samples; None until the stream ends.
    """

    rate: int
    channels: int = 1
    bits: int = 16
    floats: bool = False
    wav: bool = False
    length: int | None = None

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def samples(self, data: bytes) -> np.ndarray:
        """Whole frames as mono float32, full scale 1."""
        if self.floats:
            wide = np.frombuffer(data, f"<f{self.bits // 8}").astype(np.float64)
        elif self.bits == 8:
            wide = (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
        else:
            size = self.bits // 8  # into the high bytes of 32-bit numbers
            whole = np.zeros((len(data) // size, 4), np.uint8)
            whole[:, 4 - size :] = np.frombuffer(data, np.uint8).reshape(-1, size)
            wide = whole.view("<i4")[:, 0] / 2**31
        return wide.reshape(-1, self.channels).mean(1).astype(np.float32)


class Coming:
    """A stream of sound, its format known and its samples yet to be read."""

    def __init__(self, file: BinaryIO, rate: int, *, name: str = "standard input") -> None:
        """Read the header, if there is one; ``rate`` in Hz is that of raw samples and of what comes out.

        Raises:
            BadAudio: the header is damaged, or of a kind that is not read.
        """
        self.file, self.rate, self.name = file, rate, name
        begin = file.read(RIFF)
        self._rest = b""
        if begin[:4] == b"RIFF" and begin[8:12] == b"WAVE":
            self.format = self._header()
        else:
            self.format, self._rest = Format(rate), begin

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Blocks of ``size`` samples (the last may be shorter) at `rate`, as soon as they have come.

        Raises:
            BadAudio: there are samples that are not finite.
        """
        form, left = self.format, self.format.length
        resampler = soxr.ResampleStream(form.rate, self.rate, 1, dtype="float32", quality="HQ")
        wanted = max(1, round(size * form.rate / self.rate)) * form.frame
        waiting = np.zeros(0, np.float32)
        last = False
        while not last:
            data = self._read(wanted if left is None else min(wanted, left))
            left = None if left is None else left - len(data)
            last = len(data) < wanted or left == 0
            made = form.samples(data[: len(data) // form.frame * form.frame])
            if not np.isfinite(made).all():
                raise BadAudio(self.name, "has samples that are NaN or infinite")
            if form.rate != self.rate:
                made = resampler.resample_chunk(made, last=last)
            waiting = np.concatenate((waiting, made))
            while len(waiting) >= size or (last and len(waiting)):
                yield torch.from_numpy(waiting[:size].copy())
                waiting = waiting[size:]

    def _read(self, count: int) -> bytes:
        """Exactly ``count`` bytes, fewer at the end."""
        parts, have = [self._rest[:count]], min(count, len(self._rest))
        self._rest = self._rest[count:]
        while have < count and (more := self.file.read(count - have)):
            parts.append(more)
            have += len(more)
        return b"".join(parts)

    def _header(self) -> Format:
        """What the chunks before the samples say."""
        form: Format | None = None
        while len(head := self._read(8)) == 8:
            name, size = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                if form is None:
                    break
                known = 0 < size < UNKNOWN
                return Format(form.rate, form.channels, form.bits, form.floats, True, size if known else None)
            body = self._read(size + size % 2)
            if name == b"fmt ":
                form = self._described(body)
        raise BadAudio(self.name, "is a WAV stream whose header is damaged or has no samples behind it")

    def _described(self, body: bytes) -> Format:
        if len(body) < 16:
            raise BadAudio(self.name, "is a WAV stream whose header is cut short")
        kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
        if kind == EXTENSIBLE and len(body) >= 26:
            kind = struct.unpack("<H", body[24:26])[0]
        known = (kind == PCM and bits in (8, 16, 24, 32)) or (kind == FLOAT and bits in (32, 64))
        if not known or channels not in (1, 2) or not 4000 <= rate <= 768_000:
            raise BadAudio(
                self.name, f"is a WAV stream of a kind that is not read (format {kind}, {bits} bits, "
                f"{channels} channels, {rate} Hz); send PCM or floats of one or two channels",
            )  # fmt: skip
        return Format(rate, channels, bits, kind == FLOAT)
