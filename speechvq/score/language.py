"""The units as a language: n-grams and their entropies, Zipf's law, how long units and phones last.

Everything is counted within recordings, never across. "Without repeats" means over the runs of equal
units: [5, 5, 2] says 5 then 2, and no unit follows itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from speechvq.errors import BadSetting
from speechvq.score.codes import CodeScores, entropy, score_codes
from speechvq.score.segments import collapse
from speechvq.score.streams import Stream
from speechvq.score.tables import columns


def unit_sequences(streams: Iterable[Stream], *, repeats: bool = True) -> list[np.ndarray]:
    """Each recording's units, one a frame, or one a run without ``repeats``."""
    if repeats:
        return [stream.units for stream in streams]
    return [np.array([run.unit[0] for run in collapse(stream)], dtype=np.int64) for stream in streams]


@dataclass(frozen=True)
class NGrams:
    """The stretches of ``order`` units in a set of recordings.

    Attributes:
        order: n.
        total: how many there are.
        distinct: how many kinds of them.
        entropy: bits of one of them.
        conditional_entropy: bits of its last unit when the others are known; of the unit for n = 1.
        top: the most frequent with their counts, most frequent first.
    """

    order: int
    total: int
    distinct: int
    entropy: float
    conditional_entropy: float
    top: tuple[tuple[tuple[int, ...], int], ...]


def ngrams(sequences: Sequence[np.ndarray], order: int, *, top: int = 10) -> NGrams:
    """Count the stretches of ``order`` units.

    The entropies are those of the counts; of few recordings and a high order they are far too low.

    Raises:
        BadSetting: an order below 1, or no recording that long.
    """
    if order < 1:
        raise BadSetting(f"n-grams have an order of at least 1, not {order}")
    *_, last = _counted(sequences, order)
    if not len(last.counts):
        raise BadSetting(f"no recording has {order} units, so there are no n-grams of them")
    bits = entropy(torch.from_numpy(last.counts))
    before = entropy(torch.from_numpy(last.contexts))
    best = np.lexsort((last.first, -last.counts))[:top]
    names = [tuple(last.flat[i : i + order].tolist()) for i in last.first[best].tolist()]
    return NGrams(
        order=order,
        total=int(last.counts.sum()),
        distinct=len(last.counts),
        entropy=bits,
        conditional_entropy=max(0.0, bits - before),
        top=tuple(zip(names, last.counts[best].tolist(), strict=True)),
    )


def ngram_table(rows: Iterable[NGrams], title: str = "n-grams of units") -> Table:
    """Several orders for a terminal."""
    shown = (
        (f"{r.order}", f"{r.total}", f"{r.distinct}", f"{r.entropy:.3f}", f"{r.conditional_entropy:.3f}")
        for r in rows
    )
    return columns(title, ("n", "total", "distinct", "bits", "bits of the last"), shown)


@dataclass(frozen=True, eq=False)
class _Counts:
    """Kinds of n-gram: how often, where first in ``flat``, and how often their first n - 1 units."""

    flat: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    contexts: np.ndarray


def _counted(sequences: Sequence[np.ndarray], order: int) -> Iterator[_Counts]:
    """The n-grams of order 1, 2 ... ``order``.

    An n-gram's number is made of the number of its first n - 1 units and of its last one; both are small,
    since kinds are numbered anew for each order, so that no order overflows.
    """
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *sequences])
    left = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.arange(len(s), 0, -1) for s in sequences)]
    )  # units from here to the end of the recording
    units = np.unique(flat, return_inverse=True)[1]
    kinds = int(units.max(initial=0)) + 1
    numbers, places = np.zeros(len(flat), dtype=np.int64), np.arange(len(flat))
    for n in range(1, order + 1):
        fits = left[places] >= n
        places, before = places[fits], numbers[fits]
        keys = before * kinds + units[places + n - 1]
        _, first, numbers, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        contexts = np.unique(before, return_counts=True)[1]
        yield _Counts(flat, counts, places[first], contexts)


def transitions(sequences: Sequence[np.ndarray], units: Sequence[int]) -> np.ndarray:
    """(U, U) counts of each of ``units`` (rows) followed by each (columns); other units are left out.

    The diagonal is that of a unit after itself; it is empty for sequences without repeats.
    """
    order = np.argsort(np.asarray(units))
    known = np.asarray(units, dtype=np.int64)[order]
    counts = np.zeros((len(known), len(known)), dtype=np.int64)
    for sequence in sequences:
        at = np.searchsorted(known, sequence).clip(max=max(0, len(known) - 1))
        there = known[at] == sequence if len(known) else np.zeros(len(sequence), dtype=bool)
        both = there[:-1] & there[1:]
        np.add.at(counts, (order[at[:-1][both]], order[at[1:][both]]), 1)
    return counts


@dataclass(frozen=True)
class Zipf:
    """How frequency falls with rank: log10 count ~ intercept + slope log10 rank; Zipf's law is -1.

    Attributes:
        slope: by least squares over all ranks, each counted once.
        intercept: log10 of the fitted count at rank 1.
        r2: share of the variance of the log counts that the line explains, in [0, 1].
        ranks: (unit, count), most frequent first; rank 1 is the first.
    """

    slope: float
    intercept: float
    r2: float
    ranks: tuple[tuple[int, int], ...]

    def table(self, most: int = 20) -> Table:
        """The first ranks for a terminal."""
        total = sum(count for _, count in self.ranks)
        shown = (
            (f"{rank}", f"{unit}", f"{count}", f"{count / total:.2%}")
            for rank, (unit, count) in enumerate(self.ranks[:most], 1)
        )
        title = f"Zipf: slope {self.slope:.2f}, R² {self.r2:.2f}"
        return columns(title, ("rank", "unit", "count", "share"), shown)


def zipf(sequences: Sequence[np.ndarray]) -> Zipf:
    """Rank and frequency of the units; with fewer than two kinds the slope is 0.

    Raises:
        BadSetting: there are no units.
    """
    units, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *sequences]), return_counts=True)
    if not len(units):
        raise BadSetting("there are no units to rank; give streams with at least one frame")
    order = np.lexsort((units, -counts))
    ranks = tuple(zip(units[order].tolist(), counts[order].tolist(), strict=True))
    x, y = np.log10(np.arange(1, len(units) + 1)), np.log10(counts[order])
    spread = ((x - x.mean()) ** 2).sum()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread else 0.0
    intercept = float(y.mean() - slope * x.mean())
    varied = ((y - y.mean()) ** 2).sum()
    missed = ((y - intercept - slope * x) ** 2).sum()
    return Zipf(slope, intercept, float(1 - missed / varied) if varied > 1e-12 else 1.0, ranks)


@dataclass(frozen=True)
class Durations:
    """How long segments last, in ms.

    Attributes:
        segments: how many there are.
        mean: their mean.
        median: their median.
        deviation: their standard deviation.
        width: of a bin of the histogram.
        counts: segments that last from i times ``width`` to (not with) i + 1 times, for each i; the last
            bin has all that last longer.
    """

    segments: int
    mean: float
    median: float
    deviation: float
    width: float
    counts: tuple[int, ...]


def durations(milliseconds: Sequence[float], *, width: float = 20.0, bins: int = 26) -> Durations:
    """A summary and histogram; ``width`` in ms, the last of the ``bins`` is open.

    Raises:
        BadSetting: no durations, or a histogram that cannot be.
    """
    if not len(milliseconds) or not width > 0 or bins < 1:
        raise BadSetting(f"{len(milliseconds)} durations make no histogram of {bins} bins of {width} ms")
    times = np.asarray(milliseconds, dtype=np.float64)
    places = np.floor(times / width + 1e-6).astype(np.int64).clip(0, bins - 1)  # 60 / 20 is 3, never 2.99
    counts = np.bincount(places, minlength=bins)
    about = (float(times.mean()), float(np.median(times)), float(times.std()))
    return Durations(len(times), *about, float(width), tuple(counts.tolist()))


def unit_durations(streams: Iterable[Stream], *, width: float = 20.0, bins: int = 26) -> Durations:
    """Of the runs of equal units."""
    times = [1000 * (r.end - r.start) / stream.frame_rate for stream in streams for r in collapse(stream)]
    return durations(times, width=width, bins=bins)


def phone_durations(streams: Iterable[Stream], *, width: float = 20.0, bins: int = 26) -> Durations:
    """Of the phones of the recordings that have any."""
    times = [1000 * (phone.end - phone.start) for stream in streams for phone in stream.phones or ()]
    return durations(times, width=width, bins=bins)


def code_scores(streams: Sequence[Stream], codebook_size: int) -> CodeScores:
    """Use, perplexity and bitrates (ZeroSpeech 2019; deduplicated, with its durations) of all streams."""
    codes = [torch.from_numpy(np.ascontiguousarray(stream.codes.T)) for stream in streams]
    return score_codes(codes, [stream.seconds for stream in streams], codebook_size)
