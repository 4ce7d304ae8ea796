"""Units as segments of speech: runs of equal codes, and their boundaries against those of phones.

Boundaries are scored by precision, recall, F1, over-segmentation and the R-value (Räsänen, Laine and
Altosaar 2009), whose ideal is a recall of 1 without over-segmentation:

    OS = R / P - 1,  r1 = sqrt((1 - R)² + OS²),  r2 = (R - 1 - OS) / sqrt 2,  R-value = 1 - (|r1| + |r2|) / 2
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from speechvq.errors import BadSetting
from speechvq.score.codes import Run, runs
from speechvq.score.streams import Stream
from speechvq.score.tables import two_columns
from speechvq.store.alignments import Interval

_SLACK = 1e-6
"""Seconds: a boundary exactly one tolerance away counts, however its time was rounded."""


@dataclass(frozen=True)
class BoundaryScores:
    """How well boundaries found match boundaries known.

    Attributes:
        found: boundaries found.
        known: boundaries of the reference.
        hits: pairs of one of each within the tolerance, nothing used twice.
        tolerance: seconds.
        precision: hits over found; 0 when none were found.
        recall: hits over known; 0 when none are known.
        f1: their harmonic mean.
        over_segmentation: found over known, less 1; 0 is as many as there should be.
        r_value: 1 is perfect; it falls with missed boundaries and with too many or too few.
    """

    found: int
    known: int
    hits: int
    tolerance: float
    precision: float
    recall: float
    f1: float
    over_segmentation: float
    r_value: float

    def table(self) -> Table:
        """The figures for a terminal."""
        shown = (
            ("found, known, hit", f"{self.found}, {self.known}, {self.hits}"),
            ("precision", f"{self.precision:.4f}"),
            ("recall", f"{self.recall:.4f}"),
            ("F1", f"{self.f1:.4f}"),
            ("over-segmentation", f"{self.over_segmentation:.4f}"),
            ("R-value", f"{self.r_value:.4f}"),
        )
        return two_columns(f"Boundaries within {1000 * self.tolerance:g} ms", shown)


def r_value(recall: float, over_segmentation: float) -> float:
    """The R-value of a recall in [0, 1] and an over-segmentation of at least -1."""
    far = math.hypot(1 - recall, over_segmentation)
    aside = (recall - 1 - over_segmentation) / math.sqrt(2)
    return 1 - (abs(far) + abs(aside)) / 2


def score_boundaries(
    found: Sequence[Sequence[float]], known: Sequence[Sequence[float]], *, tolerance: float = 0.02
) -> BoundaryScores:
    """Compare boundary times of many recordings.

    Args:
        found: one ascending list of seconds a recording.
        known: the reference, in the same order.
        tolerance: seconds within which a boundary is hit.

    Raises:
        BadSetting: unequal numbers of recordings, no reference boundary, or a negative tolerance.
    """
    if len(found) != len(known):
        raise BadSetting(f"{len(found)} recordings with boundaries need as many references, not {len(known)}")
    if not tolerance >= 0:
        raise BadSetting(f"the tolerance {tolerance} must be at least 0 seconds")
    total, wanted = sum(map(len, found)), sum(map(len, known))
    if not wanted:
        raise BadSetting("there are no boundaries to be found; give alignments with at least two intervals")
    hits = sum(_hits(a, b, tolerance) for a, b in zip(found, known, strict=True))
    recall, over = hits / wanted, total / wanted - 1  # R / P - 1 without dividing by a P of 0
    return BoundaryScores(
        found=total,
        known=wanted,
        hits=hits,
        tolerance=tolerance,
        precision=hits / total if total else 0.0,
        recall=recall,
        f1=2 * hits / (total + wanted),
        over_segmentation=over,
        r_value=r_value(recall, over),
    )


def _hits(found: Sequence[float], known: Sequence[float], tolerance: float) -> int:
    """Pairs within the tolerance; taking the earliest that fits makes as many as can be made."""
    hits = i = j = 0
    while i < len(found) and j < len(known):
        apart = found[i] - known[j]
        if abs(apart) <= tolerance + _SLACK:
            hits, i, j = hits + 1, i + 1, j + 1
        elif apart < 0:
            i += 1
        else:
            j += 1
    return hits


def phone_boundaries(intervals: Iterable[Interval]) -> list[float]:
    """Seconds at which an interval begins or ends, but for where the first begins and the last ends."""
    times = sorted({time for interval in intervals for time in (interval.start, interval.end)})
    return times[1:-1]


def run_boundaries(found: Sequence[Run], frame_rate: float) -> list[float]:
    """Seconds at which one run gives way to the next."""
    return [run.start / frame_rate for run in found[1:]]


def boundary_scores(
    streams: Sequence[Stream], segments: Sequence[Sequence[Run]] | None = None, *, tolerance: float = 0.02
) -> BoundaryScores:
    """Changes of unit against changes of phone; recordings without phones are left out.

    Args:
        streams: the recordings.
        segments: their segments; None takes the runs of equal codes.
        tolerance: seconds.
    """
    segments = [collapse(stream) for stream in streams] if segments is None else segments
    pairs = [(s, r) for s, r in zip(streams, segments, strict=True) if s.phones is not None]
    return score_boundaries(
        [run_boundaries(found, stream.frame_rate) for stream, found in pairs],
        [phone_boundaries(stream.phones or ()) for stream, _ in pairs],
        tolerance=tolerance,
    )


def collapse(stream: Stream) -> list[Run]:
    """The stream's runs of equal units, as (unit,) from frame to frame."""
    return runs(torch.from_numpy(stream.units))


def unit_text(stream: Stream) -> str:
    """The units of the stream's runs, with blanks between: one line of "text" in the units' language."""
    return " ".join(str(run.unit[0]) for run in collapse(stream))
