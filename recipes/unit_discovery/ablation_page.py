"""The ablation as tables, every row and then the mean of each level of each factor, and as a plot."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from speechvq.store.atomic import atomic

COMMAND = "python recipes/unit_discovery/ablation.py"
type Row = dict[str, Any]
FACTORS = (("codes", "codes"), ("rate", "Hz"), ("jitter", "jitter"), ("speaker", "decoder and speaker"))
FIGURES = (
    ("used", "usage", ".0%"), ("bit/s", "bitrate", ".0f"), ("runs, bit/s", "deduplicated_bitrate", ".0f"),
    ("PNMI", "pnmi", ".3f"), ("ABX, vectors", "abx_quantized", ".1f"), ("ABX, one-hot", "abx_one-hot", ".1f"),
    ("phones, same map", "accuracy_same_data", ".1%"), ("phones, train map", "accuracy_held_out", ".1%"),
    ("speaker before", "speaker_before", ".1%"), ("speaker after", "speaker_after", ".1%"),
    ("WER median", "wer_median", ".2f"), ("WER mean", "wer_mean", ".2f"),
)  # fmt: skip


def page(rows: Sequence[Row]) -> str:
    """Markdown of all tables."""
    first = rows[0]
    varied = [row for row in rows if "codes" in row]
    beside = [row for row in rows if "codes" not in row]
    lines = [
        "# Ablation: what came out",
        "",
        f"Made by `{COMMAND}`: {len(varied)} small codecs, {first['steps']} steps each on flite's voices, "
        f"about {mean(r['train_seconds'] for r in varied or rows):.0f} s of one core.",
        "",
        f"ABX: triphones across speakers, error in %, {first['abx_items']:.0f} items. Phones: frames read "
        f"right (majority class {first['majority']:.1%}), by the map of the same frames and by one of the "
        "train split. Speaker: frames that a linear probe gives to the right voice (chance "
        f"{first['speaker_chance']:.0%}), from the vectors before and after quantization. WER: of "
        f"{first['scoring']['sentences']} held-out sentences, each in another voice (median as recorded: "
        f"{first['wer_source']:.2f}); a decoder that is not told the speaker speaks in a voice of its own.",
        "",
        "## All rows",
        "",
        *_table(varied + beside),
    ]
    if len(varied) > 1:
        lines += ["", "## The mean of each level over all other factors", ""]
        if not _crossed(varied):
            lines += ["Not every combination is there yet, so these means are of different company.", ""]
        lines += _marginals(varied)
    return "\n".join([*lines, "", "![PNMI and ABX against codes and rate](results.png)", ""])


def _table(rows: Sequence[Row]) -> list[str]:
    head = [shown for _, shown in FACTORS] + [shown for shown, _, _ in FIGURES]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        start = [str(row[key]) for key, _ in FACTORS] if "codes" in row else [row["label"], "", "", ""]
        lines.append(f"| {' | '.join(start + _cells(row))} |")
    return lines


def _marginals(rows: Sequence[Row]) -> list[str]:
    head = ["", "rows", *(shown for shown, _, _ in FIGURES)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for key, shown in FACTORS:
        for level in dict.fromkeys(row[key] for row in rows):
            some = [row for row in rows if row[key] == level]
            means = {name: mean(row[name] for row in some) for _, name, _ in FIGURES}
            lines.append(f"| {' | '.join([f'{shown}: {level}', str(len(some)), *_cells(means)])} |")
    return lines


def _crossed(rows: Sequence[Row]) -> bool:
    """Whether the rows are all combinations of the levels they have."""
    levels = [{row[key] for row in rows} for key, _ in FACTORS]
    return len(rows) == prod(map(len, levels))


def _cells(row: Row) -> list[str]:
    return ["" if row.get(name) is None else format(row[name], form) for _, name, form in FIGURES]


def draw(rows: Sequence[Row], path: Path) -> None:
    """PNMI and ABX against the number of codes, one line a rate; small marks are single rows."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, name, title in zip(
        axes, ("pnmi", "abx_quantized"), ("PNMI", "ABX error across speakers, %"), strict=True
    ):
        for rate in sorted({row["rate"] for row in rows}):
            some = [row for row in rows if row["rate"] == rate]
            sizes = sorted({row["codes"] for row in some})
            means = [mean(row[name] for row in some if row["codes"] == size) for size in sizes]
            (line,) = axis.plot(sizes, means, marker="o", label=f"{rate} Hz")
            xs, ys = [row["codes"] for row in some], [row[name] for row in some]
            axis.plot(xs, ys, ".", markersize=4, alpha=0.5, color=line.get_color())
        axis.set_xscale("log", base=2)
        axis.set_xlabel("codes")
        axis.set_title(title)
        axis.grid(alpha=0.3)
    if rows:
        axes[0].legend()
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)
