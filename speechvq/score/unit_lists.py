"""Units and their meeting with phones, as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from speechvq.score.unit_scores import UnitScores
from speechvq.score.units import Joint


def units_csv(scores: UnitScores) -> str:
    """One line a unit: its three likeliest phones, frequency and durations."""
    heads = ["unit", "frames", "share", "segments", "median_ms"]
    heads += [f"{what}{i}" for i in (1, 2, 3) for what in ("phone", "p")]
    lines = []
    for row in scores.units:
        best = [value for phone, p in row.phones for value in (phone, f"{p:.4f}")]
        figures = (row.unit, row.frames, f"{row.share:.6f}", row.segments, f"{row.median_duration:g}")
        lines.append([*figures, *best, *[""] * (6 - len(best))])
    return _csv(heads, lines)


def joint_csv(joint: Joint) -> str:
    """Frames of each phone (rows) in each unit (columns)."""
    return _csv(
        ["phone", *joint.units], [[p, *c] for p, c in zip(joint.phones, joint.counts.tolist(), strict=True)]
    )


def _csv(heads: Sequence[Any], lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(lines)
    return text.getvalue()
