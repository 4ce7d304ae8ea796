"""One opened recording: the checks its header allows, then its samples as one mono stream.

libsndfile decodes (wav, flac, ogg, opus, mp3, NIST SPHERE), soxr resamples. `audio` is the door;
this is what stands behind `read_audio` and `blocks`, so that the two cannot differ.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.headers import cut_short
from speechvq.speech.mpeg import Walk, walk

CHUNK = 1 << 16  # frames read at a time
SLACK_MP3 = 4608  # samples: encoder and decoder delays
SLACK = 0.01  # seconds by which a manifest's rounded times may pass the end of a recording
QUIETEST = 1e-4  # a recording whose samples span less than this (-80 dB) is silent


@dataclass(frozen=True)
class Checks:
    """What makes a recording unusable, beyond being missing, damaged or not audio at all."""

    channels: int | None = None  # exactly so many channels; None: one or two
    shortest: float = 0.0  # seconds; anything shorter is refused
    silence: bool = True  # refuse a whole recording that never departs from its mean
    loudest: float = 8.0  # greatest |sample|; integers stored as floats go far beyond full scale (1.0)
    eight_bit: bool = True  # take 8-bit PCM (it hisses, but it is speech)
    lowest_rate: int = 4000  # Hz; below this there is no speech band

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 2):
            raise BadSetting(f"channels must be 1, 2 or left out, not {self.channels}")
        if self.shortest < 0 or self.loudest <= 0 or self.lowest_rate <= 0:
            raise BadSetting("shortest must be at least 0, loudest and lowest_rate above 0")


@dataclass(frozen=True)
class Facts:
    """What the header of a recording says."""

    frames: int  # samples a channel
    rate: int  # Hz
    channels: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


@dataclass(frozen=True)
class Source:
    """A recording ready to be decoded."""

    file: soundfile.SoundFile
    certain: bool  # whether the number of frames is known, or guessed as in an MP3 without its length


@contextmanager
def opened(path: str | Path, checks: Checks) -> Iterator[Source]:
    """The decoder of a recording whose header passed the checks; decoder errors become `BadAudio`."""
    with _on_disk(path) as place:
        reason = _unusable(place)
        if reason is not None:
            raise BadAudio(path, reason)
        try:
            file = soundfile.SoundFile(str(place))
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: `.raw` has no header
            raise BadAudio(path, "is damaged or not audio in a format we read") from error
        with file:
            found = walk(place) if file.format == "MP3" else None
            reason = _refused(file, checks) or _beyond_guess(file, found)
            if reason is not None:
                raise BadAudio(path, reason)
            yield Source(file, certain=found is None)


def stream(
    path: str | Path, sample_rate: int, start: float, duration: float | None, checks: Checks
) -> Iterator[np.ndarray]:
    """Mono float32 pieces of any length at ``sample_rate``; a fault is raised where it is met."""
    if sample_rate < 1:
        raise BadSetting(f"the sample rate must be above 0 Hz, not {sample_rate}")
    low, high, total = np.inf, -np.inf, 0
    with opened(path, checks) as source:
        file = source.file
        resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
        for piece in _frames(source, path, start, duration, checks.loudest):
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
            done = piece if file.samplerate == sample_rate else resampler.resample_chunk(piece)
            total += len(done)
            yield done
        if file.samplerate != sample_rate:
            done = resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            total += len(done)
            yield done
    if total == 0:
        raise BadAudio(path, "has no samples")
    whole = start == 0 and duration is None  # a part may well be a pause
    if whole and checks.silence and high - low < QUIETEST:
        raise BadAudio(path, "is silent")


def _frames(
    source: Source, path: str | Path, start: float, duration: float | None, loudest: float
) -> Iterator[np.ndarray]:
    """Mono pieces at the file's own rate, checked; exactly as many frames as promised."""
    file = source.file
    first = round(start * file.samplerate)
    wanted = file.frames - first if duration is None else round(duration * file.samplerate)
    slack = round(SLACK * file.samplerate)
    if first < 0 or wanted < 0 or (duration is not None and first + wanted > file.frames + slack):
        raise BadAudio(path, "is shorter than the part asked for")
    wanted = min(wanted, file.frames - first)
    if 0 < first < file.frames:
        file.seek(first)
    while wanted > 0:
        try:
            piece = file.read(min(CHUNK, wanted), dtype="float32", always_2d=True).mean(axis=1)
        except soundfile.LibsndfileError as error:
            raise BadAudio(path, "is damaged or truncated") from error
        if len(piece) == 0 and not source.certain:
            return
        if len(piece) == 0:
            raise BadAudio(path, "is truncated")
        if not np.isfinite(piece).all():
            raise BadAudio(path, "contains NaN or infinite samples")
        if np.abs(piece).max() > loudest:
            raise BadAudio(path, "has samples far outside -1 to 1")
        wanted -= len(piece)
        yield piece


def _beyond_guess(file: soundfile.SoundFile, found: Walk | None) -> str | None:
    """Why an MP3 whose length the decoder guesses cannot be used: it would stop at the guess."""
    if found is not None and found.cut_short:
        return "is truncated"
    if found is not None and file.frames < found.samples - SLACK_MP3:
        return "is an MP3 of variable rate without its length; convert it to flac or wav first"
    return None


def _unusable(path: Path) -> str | None:
    """Why a file cannot be opened as a recording, by its folder entry and its first bytes."""
    try:
        if not path.exists():
            return "does not exist"
        if not path.is_file():
            return "is not a file"
        if path.stat().st_size == 0:
            return "is empty"
        return "is truncated" if cut_short(path) else None
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def _refused(file: soundfile.SoundFile, checks: Checks) -> str | None:
    """Why the settings do not take a recording, by its header."""
    if file.channels > 2 or file.channels != (checks.channels or file.channels):
        return f"has {file.channels} channel{'s'[: file.channels != 1]}"
    if file.samplerate < checks.lowest_rate:
        return f"has a sample rate below {checks.lowest_rate} Hz"
    if not checks.eight_bit and file.subtype in ("PCM_U8", "PCM_S8"):
        return "has only 8 bits a sample"
    if file.frames == 0:
        return "has no samples"
    if file.frames < checks.shortest * file.samplerate:
        return f"is shorter than {checks.shortest:g} s"
    return None


@contextmanager
def _on_disk(path: str | Path) -> Iterator[Path]:
    """The path itself; what comes through a pipe is first copied to disk, since decoders seek."""
    named = str(path) != "-"
    if named and not (os.path.lexists(path) and stat.S_ISFIFO(Path(path).lstat().st_mode)):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "piped"
        with place.open("wb") as file:
            if named:
                with Path(path).open("rb") as pipe:
                    shutil.copyfileobj(pipe, file)
            else:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield place
