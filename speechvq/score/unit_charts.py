"""Charts of the unit page, as SVG that stands in the page and follows its colours.

Matplotlib draws; whatever is to have the colour of the page's text is drawn in `INK`, which no palette
has, and becomes a reference to the page's own colour.
"""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from speechvq.errors import MissingExtra
from speechvq.score.language import Durations, Zipf
from speechvq.score.phone_classes import CLASSES, phone_class
from speechvq.score.phonemes import UnitRow
from speechvq.score.streams import Stream
from speechvq.score.unit_beside import Point
from speechvq.score.units import Joint

INK, ACCENT, SECOND = "#010203", "#178a8f", "#d9822b"
_STYLE: Any = {
    "font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "speechvq", "axes.edgecolor": INK,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def heat_map(joint: Joint) -> str:
    """P(phone | unit): phones are rows, units columns in the order of their best phone."""
    figure, axes = _figure(11, 1.2 + 0.17 * len(joint.phones))
    shares = joint.given_unit[:, joint.order]
    image = axes.imshow(shares, aspect="auto", interpolation="none", cmap=_fading(), vmin=0, vmax=1)
    axes.set_yticks(range(len(joint.phones)), joint.phones, fontsize=8)
    axes.set_xlabel(f"{len(joint.units)} units, ordered by their most probable phone")
    axes.tick_params(length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.02)
    bar.set_label("P(phone | unit)")
    bar.outline.set_visible(False)
    return _svg(figure, "heat", "probability of each phone given each unit")


def duration_chart(units: Durations, phones: Durations | None) -> str:
    """Histograms of how long units and phones last."""
    figure, axes = _figure(5.6, 3.1)
    shown = [(units, "units", ACCENT)] + ([(phones, "phones", SECOND)] if phones is not None else [])
    for found, name, colour in shown:
        edges = np.arange(len(found.counts) + 1) * found.width
        share = np.array(found.counts) / found.segments
        axes.stairs(share, edges, fill=True, alpha=0.35, color=colour)
        axes.stairs(share, edges, color=colour, label=f"{name}, median {found.median:.0f} ms", linewidth=1.5)
    axes.set_xlabel("milliseconds (the last bin is open)")
    axes.set_ylabel("share of segments")
    axes.legend(frameon=False)
    return _svg(figure, "durations", "histograms of the durations of units and phones")


def zipf_chart(zipf: Zipf) -> str:
    """Frequency against rank, both logarithmic, with the fitted line."""
    figure, axes = _figure(5.6, 3.1)
    ranks = np.arange(1, len(zipf.ranks) + 1)
    axes.loglog(ranks, [count for _, count in zipf.ranks], ".", color=ACCENT, markersize=5, label="units")
    line = 10 ** (zipf.intercept + zipf.slope * np.log10(ranks))
    axes.loglog(ranks, line, color=SECOND, label=f"slope {zipf.slope:.2f}, R² {zipf.r2:.2f}")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel("rank")
    axes.set_ylabel("frames")
    axes.minorticks_off()
    axes.legend(frameon=False)
    return _svg(figure, "zipf", "frequency of units against their rank")


def speaker_chart(streams: Sequence[Stream], units: Sequence[int]) -> str:
    """Each speaker's share of each unit, every speaker counted as if all had spoken equally long.

    Args:
        streams: the recordings.
        units: ids in the order of the columns.
    """
    names = sorted({stream.speaker for stream in streams})
    place = {unit: column for column, unit in enumerate(units)}
    counts_SU = np.zeros((len(names), len(units)))
    for stream in streams:
        columns = [place[unit] for unit in stream.units.tolist() if unit in place]
        np.add.at(counts_SU[names.index(stream.speaker)], columns, 1)
    use = counts_SU / np.maximum(counts_SU.sum(1, keepdims=True), 1)
    shares = use / np.maximum(use.sum(0), 1e-12)
    figure, axes = _figure(11, 1.1 + 0.24 * len(names))
    image = axes.imshow(shares, aspect="auto", interpolation="none", cmap=_fading(), vmin=0, vmax=1)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlabel("units, in the order of the map above")
    axes.tick_params(length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    bar = figure.colorbar(image, ax=axes, pad=0.01, fraction=0.02, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    return _svg(figure, "speakers", "share of each speaker in each unit")


def purity_chart(points: Sequence[Point]) -> str:
    """Phone purity and PNMI of several codecs against their number of units; a mark a rate."""
    figure, axes = _figure(7.5, 3.4)
    marks = "osD^v*"
    for place, rate in enumerate(sorted({p.frame_rate for p in points})):
        some = sorted((p for p in points if p.frame_rate == rate), key=lambda p: p.codebook_size)
        sizes, mark = [p.codebook_size for p in some], marks[place % len(marks)]
        purity, told = [p.phone_purity for p in some], [p.pnmi for p in some]
        axes.plot(sizes, purity, marker=mark, color=ACCENT, alpha=0.8, label=f"purity, {rate:g} Hz")
        axes.plot(sizes, told, marker=mark, color=SECOND, alpha=0.8, label=f"PNMI, {rate:g} Hz")
    sizes = sorted({p.codebook_size for p in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("units")
    figure.legend(loc="outside right upper", frameon=False)
    return _svg(figure, "purity", "purity and information against the number of units")


def code_map(codes: np.ndarray, rows: Sequence[UnitRow]) -> str:
    """Code vectors on their first two principal directions, a clickable dot each, coloured by phone class.

    Args:
        codes: (K, D) code vectors.
        rows: the units that occur; dots are larger for frequent ones.
    """
    centred = codes - codes.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    xy_K2 = np.pad(centred @ directions[:2].T, ((0, 0), (0, max(0, 2 - len(directions)))))
    low, size = xy_K2.min(0), np.maximum(np.ptp(xy_K2, axis=0), 1e-9)
    places = 20 + (xy_K2 - low) / size * (760, 480)
    dots, seen = [], set()
    for row in sorted(rows, key=lambda row: -row.frames):
        name = phone_class(row.phones[0][0]) if row.phones else "other"
        seen.add(name)
        about = ", ".join(f"{phone} {p:.2f}" for phone, p in row.phones)
        x, y = places[row.unit]
        label = row.phones[0][0] if row.phones else str(row.unit)
        dots.append(
            f'<g data-unit="{row.unit}" class="dot {name}"><title>unit {row.unit}: {escape(about)}</title>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 30 * row.share**0.5:.1f}"/>'
            f'<text x="{x:.1f}" y="{y + 3.5:.1f}">{escape(label)}</text></g>'
        )
    explained = float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-12))
    legend = "".join(f'<span class="{name}">{name}</span>' for name in CLASSES if name in seen)
    return (
        f'<p class="legend">{legend}</p><div class="wide" tabindex="0"><svg class="map" viewBox="0 0 800 520"'
        f' role="img" aria-label="code vectors in two dimensions">{"".join(dots)}</svg></div>'
        f'<p class="soft">The two directions hold {explained:.0%} of the variance of the code vectors.</p>'
    )


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure in inches with one pair of axes; no window and no state of matplotlib is touched."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "score", "the unit page") from error
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def _fading() -> Any:
    """From nothing to the accent and on to dark red: readable on white and on black."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fading", ["#178a8f00", "#178a8fcc", "#e0a030", "#c8321e"])


def _svg(figure: Any, name: str, label: str) -> str:
    """The figure as an SVG element; ids get ``name`` in front, so that charts do not share any."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text[text.index("<svg") :])
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour in (INK, "#000000"):  # some parts are drawn in matplotlib's own black
        text = text.replace(colour, "var(--ink)")
    width = re.search(r'viewBox="0 0 (\d+)', text)
    points = int(width[1]) if width else 400
    least, most = 720 if points > 720 else 330, round(1.5 * points)
    text = text.replace(
        "<svg ",
        f'<svg class="chart" role="img" aria-label="{label}" style="min-width:{least}px;max-width:{most}px" ',
        1,
    )
    return f'<div class="wide" tabindex="0">{text}</div>'
