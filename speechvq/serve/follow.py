"""Live conversion from standard input, a file or the microphone, to standard output or a file."""

import signal
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from speechvq.codec import Codec
from speechvq.errors import BadSetting
from speechvq.serve.bulk import STANDARD
from speechvq.serve.files import Voice
from speechvq.serve.live import LAG, Ear, Timing, converted
from speechvq.speech.audio import AudioWriter, blocks
from speechvq.speech.coming import Coming

MICROPHONE = "microphone"
"""As a source."""


def follow(
    codec: Codec, source: str, target: str, *, voice: Voice, lag: float = LAG, force: bool = False
) -> Timing:
    """Speak after ``source`` until it ends, in another voice; what the timing was.

    Args:
        codec: on any device.
        source: ``-`` (a WAV or raw stream), ``microphone`` (until Ctrl-C), or a sound file.
        target: a sound file, or ``-``: raw 16-bit samples where raw ones came, otherwise a WAV stream.
        voice: who speaks.
        lag: milliseconds from a sample to its sound, without computing; infinity waits for the end.
        force: replace ``target``.

    Raises:
        BadSetting: the lag is too short, the decoder cannot speak live, or there is no microphone.
        BadAudio: what comes is not sound, or ended too soon.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    voice.check(codec)
    timing, rate = Timing.of(codec, lag), round(codec.rate)
    ear = Ear(codec, timing.ahead)  # before a microphone is open
    with _heard(source, rate, timing.block) as (sound, raw):
        waves = converted(codec, ear, sound, voice.plain())
        first = list(islice(waves, 1))  # most of what can be wrong shows before a file is made
        writer = Stream(sys.stdout.buffer, rate, raw=raw)
        with writer if target == STANDARD else AudioWriter(target, rate, force=force) as out:
            for wave in chain(first, waves):
                out.write(wave)
    return timing


class Stream:
    """Sound to a pipe, piece by piece: what is written has left."""

    def __init__(self, file: BinaryIO, rate: int, *, raw: bool) -> None:
        """``raw`` 16-bit samples alone, or a WAV whose header leaves the length open."""
        self.file, self.rate, self.raw = file, rate, raw

    def __enter__(self) -> Self:
        if not self.raw:
            form = struct.pack("<HHIIHH", 1, 1, self.rate, 2 * self.rate, 2, 16)
            self.file.write(b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", len(form)) + form)
            self.file.write(b"data\xff\xff\xff\xff")
        return self

    def write(self, wave: Tensor) -> None:
        """Send ``(1, n)`` or ``(n,)`` samples in [-1, 1]."""
        samples = (wave.detach().to("cpu", torch.float32).reshape(-1) * 32767).round().to(torch.int16)
        self.file.write(samples.numpy().astype("<i2").tobytes())
        self.file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


@contextmanager
def _heard(source: str, rate: int, block: int) -> Iterator[tuple[Iterator[Tensor], bool]]:
    """Blocks of samples, and whether they came raw."""
    if source == STANDARD:
        coming = Coming(sys.stdin.buffer, rate)
        yield coming.blocks(block), not coming.format.wav
    elif source == MICROPHONE:
        device = _sounddevice()
        try:
            with (
                device.RawInputStream(rate, block, channels=1, dtype="int16") as stream,
                _stoppable() as stop,
            ):
                yield _spoken(stream, block, stop), False
        except device.PortAudioError as error:
            raise BadSetting(f"the microphone cannot be used ({error}); pipe sound into - instead") from error
    else:
        yield (piece[0] for piece in blocks(source, rate, block / rate)), False


def _spoken(stream: Any, block: int, stop: threading.Event) -> Iterator[Tensor]:
    while not stop.is_set():
        data, _ = stream.read(block)
        yield torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 32768


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C ends the recording, and what was said is spoken to the end; a second one breaks off."""
    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: it is there, but PortAudio is not
        raise BadSetting(
            f"the microphone needs the library sounddevice and PortAudio ({error}); "
            "install them, or pipe sound into -"
        ) from error
    return sounddevice
