"""Sound files in and out: mono float32 at one rate, whole or in blocks of constant memory.

Reading goes through libsndfile (wav, flac, ogg, opus, mp3, NIST SPHERE) and the soxr resampler;
`read_audio` and `blocks` are the same stream, so they agree bit for bit. Whatever cannot be used is
a `BadAudio` that names the file and, in a few words that can be counted, the reason.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.recording import CHUNK, Checks, Facts, opened, stream
from speechvq.store.atomic import atomic

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
AUDIO_SUFFIXES = tuple(FORMATS)
__all__ = ["AUDIO_SUFFIXES", "AudioWriter", "Checks", "Facts", "blocks", "facts", "read_audio", "write_audio"]


def facts(path: str | Path, *, checks: Checks | None = None) -> Facts:
    """Length, rate and channels of a recording, from its header, after the checks a header allows.

    Raises:
        BadAudio: missing, empty, truncated, not audio, or refused by ``checks``.
    """
    with opened(path, checks or Checks()) as source:
        file = source.file
        return Facts(file.frames, file.samplerate, file.channels)


def read_audio(
    path: str | Path,
    *,
    sample_rate: int = 16000,
    start: float = 0.0,
    duration: float | None = None,
    checks: Checks | None = None,
) -> Tensor:
    """A recording, or ``duration`` seconds of it from ``start``, as ``(1, L)`` float32 at ``sample_rate``.

    Two channels are averaged. ``-`` reads standard input.

    Raises:
        BadAudio: the recording cannot be used, or is shorter than the part asked for.
    """
    pieces = list(stream(path, sample_rate, start, duration, checks or Checks()))
    return torch.from_numpy(np.concatenate(pieces))[None]


def blocks(
    path: str | Path, sample_rate: int = 16000, seconds: float = 10.0, *, checks: Checks | None = None
) -> Iterator[Tensor]:
    """The same samples as `read_audio`, as ``(1, n)`` blocks of ``seconds`` (the last may be shorter).

    Memory does not grow with the recording. ``-`` reads standard input, by way of a temporary file.
    What only shows later (NaN, a broken end, silence throughout) is raised when it is met.

    Raises:
        BadAudio: the recording cannot be used.
        BadSetting: a block would hold no sample.
    """
    size = round(seconds * sample_rate)
    if size < 1:
        raise BadSetting(f"a block of {seconds} s at {sample_rate} Hz holds no sample")
    waiting = np.zeros(0, dtype=np.float32)
    for piece in stream(path, sample_rate, 0.0, None, checks or Checks()):
        waiting = np.concatenate((waiting, piece))
        whole = len(waiting) // size * size
        for at in range(0, whole, size):
            yield torch.from_numpy(waiting[at : at + size].copy())[None]
        waiting = waiting[whole:]
    if len(waiting):
        yield torch.from_numpy(waiting.copy())[None]


def write_audio(path: str | Path, wave: Tensor, sample_rate: int, *, force: bool = True) -> None:
    """Write ``(1, L)`` or ``(L,)`` samples in [-1, 1] (clipped beyond); the suffix chooses the format.

    ``-`` writes a WAV to standard output.

    Raises:
        WouldOverwrite: the file exists and ``force`` is False.
        BadSetting: the suffix names no format we write, or the format does not know the rate.
        BadAudio: a sample is NaN or infinite, or the disk does not take it.
    """
    with AudioWriter(path, sample_rate, force=force) as writer:
        writer.write(wave)


class AudioWriter:
    """A sound file written piece by piece, that appears only when it is complete.

    Use as ``with AudioWriter(path, rate) as writer: writer.write(wave)``; see `write_audio`.
    """

    def __init__(self, path: str | Path, sample_rate: int, *, force: bool = True) -> None:
        self.path, self.sample_rate, self.force = path, sample_rate, force
        suffix = ".wav" if str(path) == "-" else Path(path).suffix.lower()
        if suffix not in FORMATS:
            known = ", ".join(AUDIO_SUFFIXES)
            raise BadSetting(f"{path} should end in the format to write, one of {known}")
        self._format, self._subtype = FORMATS[suffix]
        if not soundfile.check_format(self._format, self._subtype):
            raise BadSetting(f"this machine's libsndfile does not write {suffix}; write a .wav or .flac")
        self._stack = ExitStack()
        self._file: soundfile.SoundFile | None = None

    def __enter__(self) -> "AudioWriter":
        opened = _to_stdout() if str(self.path) == "-" else atomic(self.path, force=self.force)
        target = self._stack.enter_context(opened)
        try:
            self._file = soundfile.SoundFile(
                str(target), "w", self.sample_rate, 1, format=self._format, subtype=self._subtype
            )
        except soundfile.LibsndfileError as error:
            with self._stack:
                sentence = (
                    f"{self.path} cannot be written as {self._subtype} at {self.sample_rate} Hz: {error}"
                )
                raise BadSetting(sentence) from error
        self._stack.enter_context(self._file)
        return self

    def write(self, wave: Tensor) -> None:
        """Append ``(1, n)`` or ``(n,)`` samples."""
        if self._file is None:
            raise RuntimeError("AudioWriter.write is for use inside `with`")
        samples = wave.detach().to("cpu", torch.float32).reshape(-1).numpy()
        if not np.isfinite(samples).all():
            raise BadAudio(self.path, "would get NaN or infinite samples and was not written")
        try:
            for at in range(0, len(samples), CHUNK):  # a long single write breaks the Vorbis encoder
                self._file.write(samples[at : at + CHUNK].clip(-1.0, 1.0))
        except soundfile.LibsndfileError as error:
            raise BadAudio(self.path, f"could not be written ({error})") from error

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)  # pyright: ignore[reportArgumentType]


@contextmanager
def _to_stdout() -> Iterator[Path]:
    """A WAV header needs the length, so the file is finished on disk and then copied out."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "stdout.wav"
        with (Path(folder) / "stdout.wav").open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
