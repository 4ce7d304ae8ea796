"""Recordings of a manifest as training batches: crops that begin on a code, padded, with their voice.

What an item is depends on the seed, the epoch and the place in the manifest alone, not on who loads it
or when; so a run that was killed goes on with the very crops it would have seen.
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from speechvq.codec import Batch
from speechvq.errors import BadAudio, BadManifest, BadSetting
from speechvq.speech.audio import read_audio
from speechvq.speech.tracks import pitch_tracks
from speechvq.store.manifest import SPLITS, Entry, read_manifest
from speechvq.table import settings

log = logging.getLogger(__name__)
PITCH_RATE = 100


@dataclass(frozen=True)
class SpeechDataSettings:
    """Which recordings, and how much of each at a time."""

    manifest: str = ""  # the JSONL file that `speechvq prepare` made
    seconds: float = 1.0  # length of a training crop, > 0
    valid_seconds: float = 3.0  # length of a held-out crop, > 0
    speakers: tuple[str, ...] | None = None  # only these voices; null for all
    cache: bool = True  # keep the recordings in memory as 16-bit integers (115 MB an hour at 16 kHz)
    skip_bad: bool = False  # with cache: leave out what cannot be read, with a warning, instead of stopping
    pitch: bool = False  # give pitch tracks, measured once and kept beside the manifest
    embeddings: str | None = None  # .npz of 256 numbers by "speaker/utterance" or "utterance"
    seed: int = 0  # of the crops

    def __post_init__(self) -> None:
        if not self.manifest:
            raise BadSetting("no manifest: make one with `speechvq prepare` and give data.manifest=FILE")
        for name in ("seconds", "valid_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadSetting(f"data.{name} is {getattr(self, name)}; give seconds above 0")
        if self.seed < 0:
            raise BadSetting(f"data.seed is {self.seed}; give 0 or a positive number")


@dataclass(frozen=True)
class Item:
    """One crop.

    Attributes:
        wave: (n,) float32, n at most the crop's length.
        speaker: index into the voices.
        pitch: (frames,) Hz at 100 Hz, or None.
        embedding: (256,), or None.
    """

    wave: Tensor
    speaker: int
    pitch: Tensor | None = None
    embedding: Tensor | None = None


class SpeechCorpus:
    """A manifest's voices and splits, before it is known for which codec they are cut."""

    def __init__(self, settings: SpeechDataSettings, *, rate: int = 16_000) -> None:
        """Read the manifest; nothing is read of the recordings yet.

        Raises:
            BadManifest: it is damaged, or has nothing to train on.
        """
        self.settings, self.rate = settings, rate
        entries = read_manifest(settings.manifest)
        self.voices = settings.speakers and tuple(settings.speakers)
        if self.voices and (missing := set(self.voices) - {e.speaker for e in entries}):
            raise BadManifest(f"{settings.manifest} has no recording of {', '.join(sorted(missing))}")
        # The place in the file names the pitch track, so it is kept when voices are left out.
        self._placed = [(i, e) for i, e in enumerate(entries) if not self.voices or e.speaker in self.voices]
        if not self._of("train"):
            raise BadManifest(f"{settings.manifest} has no entry of the split 'train'")

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the voices to train on, sorted."""
        return tuple(sorted({e.speaker for _, e in self._of("train")}))

    def __str__(self) -> str:
        parts = []
        for split in SPLITS[:2]:
            minutes = sum(e.duration for _, e in self._of(split)) / 60
            parts.append(f"{minutes:,.1f} min in {len(self._of(split)):,} recordings ({split})")
        return f"{', '.join(parts)}; {len(self.speakers)} voices"

    def split(self, name: str, *, hop: int, speakers: Sequence[str]) -> "SpeechData":
        """Crops of one split for a codec with this ``hop`` and, in its order, these ``speakers``.

        A recording of a voice that is not among ``speakers`` is left out; there may be none left.
        """
        placed = [(i, e) for i, e in self._of(name) if e.speaker in speakers]
        voices = tuple(speakers)
        return SpeechData(placed, self.settings, hop=hop, rate=self.rate, speakers=voices, split=name)

    def _of(self, split: str) -> list[tuple[int, Entry]]:
        return [(i, e) for i, e in self._placed if e.split == split]


def open_corpus(values: Mapping[str, Any], *, rate: int) -> SpeechCorpus:
    """The corpus of plain `SpeechDataSettings`, at ``rate`` samples per second."""
    return SpeechCorpus(settings(SpeechDataSettings, values, "data"), rate=rate)


class SpeechData(Dataset[Item]):
    """Crops by (epoch, index): at a random place in training, from the beginning in validation."""

    def __init__(
        self,
        placed: Sequence[tuple[int, Entry]],
        settings: SpeechDataSettings,
        *,
        hop: int,
        rate: int,
        speakers: tuple[str, ...],
        split: str,
    ) -> None:
        """``placed`` are entries with their place in the manifest; crops begin on multiples of ``hop``."""
        self.settings, self.rate, self.speakers, self.random = settings, rate, speakers, split == "train"
        self.step = math.lcm(hop, rate // PITCH_RATE) if settings.pitch else hop
        seconds = settings.seconds if self.random else settings.valid_seconds
        self.length = max(1, round(seconds * rate / self.step)) * self.step
        placed = list(placed)
        self.waves: list[np.ndarray] | None = None
        if settings.cache and placed:
            placed, self.waves = _load(placed, rate, skip=settings.skip_bad)
        self.entries = [entry for _, entry in placed]
        self.tracks = None
        if settings.pitch and placed:
            everything = pitch_tracks(settings.manifest, read_manifest(settings.manifest), rate)
            self.tracks = [everything[i] for i, _ in placed]
        self.embeddings = _embeddings(settings.embeddings, self.entries) if settings.embeddings else None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """The crop of recording ``index`` in ``epoch``.

        Raises:
            BadAudio: the recording cannot be read (it was not cached, and has changed since).
        """
        epoch, index = key
        entry = self.entries[index]
        total = int(entry.duration * self.rate) if self.waves is None else len(self.waves[index])
        start = 0
        if self.random and total > self.length:
            draw = np.random.default_rng((self.settings.seed, epoch, index))
            start = self.step * int(draw.integers((total - self.length) // self.step + 1))
        return Item(
            self._wave(index, start, min(self.length, total - start)),
            self.speakers.index(entry.speaker),
            self._pitch(index, start),
            None if self.embeddings is None else self.embeddings[index],
        )

    def collate(self, items: Sequence[Item]) -> Batch:
        """Items to a `Batch` of signals (B, 1, length); the mask is None when no item is short."""
        lengths = torch.tensor([len(item.wave) for item in items])
        signal = torch.stack([F.pad(item.wave, (0, self.length - len(item.wave))) for item in items])
        mask = torch.arange(self.length) < lengths[:, None]
        condition = {"speaker": torch.tensor([item.speaker for item in items])}
        if self.tracks is not None:
            condition["pitch"] = torch.stack([item.pitch for item in items if item.pitch is not None])
        if self.embeddings is not None:
            condition["embedding"] = torch.stack([i.embedding for i in items if i.embedding is not None])
        return Batch(signal[:, None], None if bool(mask.all()) else mask, condition)

    def _wave(self, index: int, start: int, length: int) -> Tensor:
        if self.waves is not None:
            samples = self.waves[index][start : start + length]
            return torch.from_numpy(samples.astype(np.float32) / 32768)
        entry = self.entries[index]
        wave = read_audio(
            entry.path,
            sample_rate=self.rate,
            start=entry.start + start / self.rate,
            duration=length / self.rate,
        )
        return wave[0, :length]

    def _pitch(self, index: int, start: int) -> Tensor | None:
        """The crop's pitch, with -1, "unknown", beyond the recording's end."""
        if self.tracks is None:
            return None
        hop = self.rate // PITCH_RATE
        part = torch.from_numpy(self.tracks[index][start // hop : (start + self.length) // hop])
        return F.pad(part, (0, self.length // hop - len(part)), value=-1.0)


def _load(
    placed: list[tuple[int, Entry]], rate: int, *, skip: bool
) -> tuple[list[tuple[int, Entry]], list[np.ndarray]]:
    """Every recording as int16, and the entries that could be read."""

    def load(entry: Entry) -> np.ndarray | BadAudio:
        try:
            wave = read_audio(entry.path, sample_rate=rate, start=entry.start, duration=entry.duration)
        except BadAudio as error:
            return error
        return (wave[0] * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        loading = pool.map(load, [entry for _, entry in placed])
        loaded = list(tqdm(loading, "reading recordings", len(placed), leave=False, disable=None))
    bad = [result for result in loaded if isinstance(result, BadAudio)]
    if bad and not skip:
        raise bad[0]
    for error in bad:
        log.warning("left out: %s", error)
    kept = [(p, w) for p, w in zip(placed, loaded, strict=True) if isinstance(w, np.ndarray)]
    return [p for p, _ in kept], [w for _, w in kept]


def _embeddings(path: str, entries: Sequence[Entry]) -> list[Tensor]:
    """The embedding of each entry's recording; a missing one is a `BadManifest`."""
    if not Path(path).is_file():
        raise BadSetting(f"there is no file of speaker embeddings {path}")
    with np.load(path, allow_pickle=False) as file:
        stored = dict(file)
    found = []
    for entry in entries:
        vector = stored.get(f"{entry.speaker}/{entry.utterance}", stored.get(entry.utterance))
        if vector is None:
            raise BadManifest(f"{path} has no embedding of {entry.speaker}/{entry.utterance}")
        found.append(torch.from_numpy(np.asarray(vector, np.float32).reshape(-1)))
    return found
