"""How differently speakers use the units, and how alike two training runs' units are.

Frames of one recording are no independent draws, so chi² and its p are told for completeness; Cramér's V
and the mutual information say how large the difference is. Few recordings make any information look
larger than it is; what remains after subtracting that of recordings dealt to speakers at random is not
due to chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from speechvq.errors import BadSetting, MissingExtra
from speechvq.score.codes import perplexity
from speechvq.score.streams import Stream
from speechvq.score.tables import columns, two_columns
from speechvq.score.units import agreement, entropy, joint, mutual_information

_BITS = 1 / math.log(2)
"""In a nat."""


@dataclass(frozen=True)
class Voice:
    """One speaker's use of the units.

    Attributes:
        speaker: the voice's name.
        recordings: how many there are.
        frames: in all of them.
        kinds: units used at least once.
        perplexity: two to the entropy of the speaker's units.
        information: bits by which a frame's unit tells this speaker from all together (Kullback-Leibler).
    """

    speaker: str
    recordings: int
    frames: int
    kinds: int
    perplexity: float
    information: float


@dataclass(frozen=True)
class SpeakerUse:
    """How far units and speakers depend on one another.

    Attributes:
        voices: one a speaker, in alphabetical order.
        chi2: Pearson's statistic of the table of speakers and units.
        freedom: its degrees of freedom.
        p: probability of so large a chi² if frames were drawn independently of the speaker.
        cramers_v: chi² as a share of what it could be, square root, in [0, 1].
        information: I(unit; speaker), bits a frame.
        speaker_entropy: H(speaker), bits a frame: the most that the information could be.
        by_chance: mean information when recordings are dealt to speakers at random; None: not measured.
    """

    voices: tuple[Voice, ...]
    chi2: float
    freedom: int
    p: float
    cramers_v: float
    information: float
    speaker_entropy: float
    by_chance: float | None

    @property
    def above_chance(self) -> float | None:
        """Bits of information beyond that by chance."""
        return None if self.by_chance is None else self.information - self.by_chance

    def table(self) -> Table:
        """The figures for a terminal."""
        rows = [
            ("chi², degrees of freedom, p", f"{self.chi2:.1f}, {self.freedom}, {self.p:.2g}"),
            ("Cramér's V", f"{self.cramers_v:.3f}"),
            ("I(unit; speaker) in bits", f"{self.information:.4f} of {self.speaker_entropy:.4f}"),
        ]
        if self.by_chance is not None:
            rows.append(("above chance", f"{self.above_chance:.4f} (chance {self.by_chance:.4f})"))
        return two_columns("Units and speakers", rows)

    def voice_table(self) -> Table:
        """One row a speaker, for a terminal."""
        shown = (
            (v.speaker, f"{v.recordings}", f"{v.frames}", f"{v.kinds}", f"{v.perplexity:.1f}",
             f"{v.information:.3f}")
            for v in self.voices
        )  # fmt: skip
        return columns(
            "Speakers", ("speaker", "recordings", "frames", "units", "perplexity", "bits apart"), shown
        )


def speaker_use(streams: Sequence[Stream], *, permutations: int = 0, seed: int = 0) -> SpeakerUse:
    """Compare the speakers' use of the units.

    Args:
        streams: recordings of one speaker or more.
        permutations: how often recordings are dealt to speakers at random to measure chance; 0: never.
        seed: of the dealing.

    Raises:
        BadSetting: the streams have no frames.
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.stats import chi2 as distribution
    except ImportError as error:
        raise MissingExtra("scipy", "score", "the use of units per speaker") from error
    streams = [stream for stream in streams if len(stream)]
    if not streams:
        raise BadSetting("the streams have no frames, so no speaker uses any unit")
    names, owners = np.unique([stream.speaker for stream in streams], return_inverse=True)
    counts_RU = _recordings_by_units(streams)
    counts_SU = _dealt(counts_RU, owners, len(names))
    frames = counts_SU.sum()
    expected = counts_SU.sum(1, keepdims=True) * counts_SU.sum(0, keepdims=True) / frames
    chi2 = float(((counts_SU - expected) ** 2 / expected).sum())
    smaller, freedom = min(counts_SU.shape) - 1, (counts_SU.shape[0] - 1) * (counts_SU.shape[1] - 1)
    random = np.random.default_rng(seed)
    dealt = [_dealt(counts_RU, random.permutation(owners), len(names)) for _ in range(permutations)]
    return SpeakerUse(
        voices=_voices(names.tolist(), np.bincount(owners), counts_SU),
        chi2=chi2,
        freedom=freedom,
        p=float(distribution.sf(chi2, freedom)) if freedom else 1.0,
        cramers_v=math.sqrt(chi2 / (int(frames) * smaller)) if smaller else 0.0,
        information=max(0.0, mutual_information(counts_SU)) * _BITS,
        speaker_entropy=max(0.0, entropy(counts_SU.sum(1))) * _BITS,
        by_chance=float(np.mean([mutual_information(c) for c in dealt]) * _BITS) if dealt else None,
    )


def _recordings_by_units(streams: Sequence[Stream]) -> np.ndarray:
    kinds, flat = np.unique(np.concatenate([stream.units for stream in streams]), return_inverse=True)
    rows = np.repeat(np.arange(len(streams)), [len(stream) for stream in streams])
    counts = np.bincount(rows * len(kinds) + flat, minlength=len(streams) * len(kinds))
    return counts.reshape(len(streams), len(kinds))


def _dealt(counts_RU: np.ndarray, owners: np.ndarray, speakers: int) -> np.ndarray:
    """(S, U): the rows of each speaker's recordings, added."""
    counts_SU = np.zeros((speakers, counts_RU.shape[1]), dtype=np.int64)
    for speaker in range(speakers):
        counts_SU[speaker] = counts_RU[owners == speaker].sum(0)
    return counts_SU


def _voices(names: Sequence[str], recordings: np.ndarray, counts_SU: np.ndarray) -> tuple[Voice, ...]:
    together = counts_SU.sum(0) / counts_SU.sum()
    rows = []
    for name, number, counts in zip(names, recordings.tolist(), counts_SU, strict=True):
        share, seen = counts / counts.sum(), counts > 0
        apart = float((share[seen] * np.log2(share[seen] / together[seen])).sum())
        spread = perplexity(torch.from_numpy(counts))
        rows.append(Voice(name, number, int(counts.sum()), int(seen.sum()), spread, max(0.0, apart)))
    return tuple(rows)


@dataclass(frozen=True)
class Stability:
    """How alike the units of two runs are, whatever they call them.

    Attributes:
        recordings: that both runs have.
        frames: compared.
        ami: mutual information above chance; 1 when the units differ in name only, about 0 by chance.
        ari: Rand index above chance, likewise.
        v_measure: mutual information over the mean entropy, in [0, 1].
        one_to_one: share of frames that agree under the best renaming.
    """

    recordings: int
    frames: int
    ami: float
    ari: float
    v_measure: float
    one_to_one: float

    def table(self) -> Table:
        """The figures for a terminal."""
        shown = (
            ("recordings, frames", f"{self.recordings}, {self.frames}"),
            ("AMI", f"{self.ami:.4f}"),
            ("ARI", f"{self.ari:.4f}"),
            ("V-measure", f"{self.v_measure:.4f}"),
            ("one-to-one", f"{self.one_to_one:.4f}"),
        )
        return two_columns("Units of two runs", shown)


def stability(first: Sequence[Stream], second: Sequence[Stream]) -> Stability:
    """Compare two runs frame by frame; recordings are matched by name and cut to the shorter.

    Raises:
        BadSetting: no recording in common, or different frame rates.
    """
    others = {stream.name: stream for stream in second}
    pairs = [(stream, others[stream.name]) for stream in first if stream.name in others]
    if not any(min(len(a), len(b)) for a, b in pairs):
        raise BadSetting("the two runs have no frame of the same recording; encode the same manifest twice")
    for a, b in pairs:
        if a.frame_rate != b.frame_rate:
            raise BadSetting(
                f"the runs have {a.frame_rate:g} and {b.frame_rate:g} frames a second of {a.name}; "
                "compare runs of one rate"
            )
    lengths = [min(len(a), len(b)) for a, b in pairs]
    labels = [str(u) for (a, _), n in zip(pairs, lengths, strict=True) for u in a.units[:n].tolist()]
    units = np.concatenate([b.units[:n] for (_, b), n in zip(pairs, lengths, strict=True)])
    scores = agreement(joint(labels, units))
    return Stability(len(pairs), scores.frames, scores.ami, scores.ari, scores.v_measure, scores.one_to_one)
