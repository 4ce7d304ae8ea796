"""The three pictures of results.md, drawn from what ``speechvq score units`` wrote.

python pictures.py checkpoints/speech-units outputs/unit_discovery/page outputs/unit_discovery/pictures
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from speechvq import Codec
from speechvq.score.phone_classes import CLASSES, phone_class
from speechvq.score.streams import code_vectors
from speechvq.score.units import Joint
from speechvq.store.atomic import atomic

PICTURES = ("phones.png", "statistics.png", "codes.png")
ACCENT, SECOND = "#178a8f", "#d9822b"


def main(codec: Path, page: Path, out: Path) -> None:
    """Draw `PICTURES` into the folder ``out``."""
    scores = json.loads((page / "units.json").read_text(encoding="utf-8"))
    drawn = (
        phones(read_joint(page / "joint.csv")),
        statistics(scores),
        codes(code_vectors(Codec.from_pretrained(codec)), scores["units"]),
    )
    for name, figure in zip(PICTURES, drawn, strict=True):
        with atomic(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def read_joint(path: Path) -> Joint:
    """What ``joint.csv`` holds: frames of each phone in each unit."""
    with path.open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    counts = np.array([[int(cell) for cell in line[1:]] for line in lines], dtype=np.int64)
    return Joint(tuple(line[0] for line in lines), tuple(int(unit) for unit in head[1:]), counts)


def phones(joint: Joint) -> Figure:
    """P(phone | unit); phones by class, units by the place of their best phone."""
    places = sorted(range(len(joint.phones)), key=lambda row: CLASSES.index(phone_class(joint.phones[row])))
    shares = joint.given_unit[places]
    shares = shares[:, np.lexsort((-shares.max(0), shares.argmax(0)))]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, aspect="auto", interpolation="none", cmap="BuPu", vmin=0, vmax=1)
    axes.set_yticks(range(len(places)), [joint.phones[row] for row in places], fontsize=8)
    axes.set_xlabel(f"{shares.shape[1]} units, by their most probable phone")
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03, label="P(phone | unit)")
    return figure


def statistics(scores: dict[str, Any]) -> Figure:
    """Left: how often each unit occurs, by rank. Right: how long units and phones last."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = sorted((row["frames"] for row in scores["units"]), reverse=True)
    ranks, law = np.arange(1, len(counts) + 1), scores["zipf"]
    left.loglog(ranks, counts, ".", color=ACCENT, label="units")
    line = 10 ** (law["intercept"] + law["slope"] * np.log10(ranks))
    left.loglog(ranks, line, color=SECOND, label=f"slope {law['slope']:.2f}, R² {law['r2']:.2f}")
    left.set_xlabel("rank")
    left.set_ylabel("frames")
    for name, colour in (("unit", ACCENT), ("phone", SECOND)):
        if (found := scores[f"{name}_durations"]) is None:
            continue
        share = np.array(found["counts"]) / found["segments"]
        label = f"{name}s, median {found['median']:.0f} ms"
        right.stairs(share, np.arange(len(share) + 1) * found["width"], color=colour, fill=True, alpha=0.5,
                     label=label)  # fmt: skip
    right.set_xlabel("milliseconds (the last bin is open)")
    right.set_ylabel("share of segments")
    for axes in (left, right):
        axes.legend(frameon=False)
    return figure


def codes(vectors_KD: np.ndarray, rows: Sequence[dict[str, Any]]) -> Figure:
    """Code vectors on their first two principal directions, by the class of their most probable phone."""
    centred = vectors_KD - vectors_KD.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    xy_K2 = centred @ directions[:2].T
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    colours = mpl.colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    best = {row["unit"]: row["phones"][0][0] for row in rows if row["phones"]}
    for name, colour in zip(CLASSES, colours, strict=False):
        own = [unit for unit, phone in best.items() if phone_class(phone) == name]
        if own:
            axes.plot(*xy_K2[own].T, "o", color=colour, alpha=0.35, markersize=9, label=name)
    for unit, phone in best.items():
        axes.annotate(phone, tuple(xy_K2[unit]), ha="center", va="center", fontsize=6)
    held = (spread[:2] ** 2).sum() / (spread**2).sum()
    axes.set_xlabel(f"these two directions hold {held:.0%} of the variance of the code vectors")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(frameon=False, loc="best", fontsize=8)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for argument in ("codec", "page", "out"):
        parser.add_argument(argument, type=Path)
    main(**vars(parser.parse_args()))
