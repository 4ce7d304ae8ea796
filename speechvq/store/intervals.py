"""Labelled stretches of a recording, in order, and what they say at the centres of frames."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechvq.errors import BadAlignment, BadSetting

SLACK = 0.0101  # seconds: times rounded to 10 ms overlap by so much; the earlier interval keeps it


@dataclass(frozen=True)
class Interval:
    """A stretch of a recording and what is in it; times in seconds from the start of the audio file."""

    label: str
    start: float
    end: float


class Row(NamedTuple):
    """What one line of a file says."""

    line: int  # counted from 1
    label: str
    start: float  # seconds
    end: float  # seconds


def in_order(path: object, rows: Iterable[Row]) -> tuple[Interval, ...]:
    """The rows as intervals that follow one another; those without length are left out.

    Raises:
        BadAlignment: a time is negative or no number, an interval ends before it starts, or starts
            before the one above it has ended.
    """
    found: list[Interval] = []
    for line, label, start, end in rows:
        where = f"{path}, line {line}: {label!r} from {start:g} to {end:g} s"
        if not (math.isfinite(start) and math.isfinite(end) and start >= 0):
            raise BadAlignment(f"{where} has a time that cannot be; times are seconds from the file's start")
        if end < start:
            raise BadAlignment(f"{where} ends before it starts; correct the line, or take the file out")
        before = found[-1].end if found else 0.0
        if start < before - SLACK:
            raise BadAlignment(f"{where} starts before the interval above it ends ({before:g} s)")
        start = max(start, before)
        if end > start:
            found.append(Interval(label, start, end))
    return tuple(found)


def phones_at(intervals: Sequence[Interval], frame_rate: float, frames: int) -> list[str | None]:
    """The label at the centre of each frame, (i + 1/2) / ``frame_rate`` seconds; None where there is none.

    An interval holds its start and not its end. ``intervals`` are in order and do not overlap.

    Raises:
        BadSetting: the frame rate is not above 0, or the number of frames is negative.
    """
    if not frame_rate > 0 or frames < 0:
        raise BadSetting(f"frames need a rate above 0 and a number of at least 0, not {frame_rate}, {frames}")
    centres = (np.arange(frames) + 0.5) / frame_rate
    begun = np.searchsorted([i.start for i in intervals], centres, side="right") - 1
    return [
        intervals[at].label if at >= 0 and centre < intervals[at].end else None
        for at, centre in zip(begun.tolist(), centres.tolist(), strict=True)
    ]
