"""Figures and tables of the unit page."""

from collections.abc import Iterable, Sequence
from html import escape

from speechvq.score.probes import VECTORS
from speechvq.score.unit_scores import UnitScores

type Cell = str | tuple[str, float]
"""What a cell shows, and the number it sorts by if it is one."""


def tiles(scores: UnitScores) -> str:
    """The most asked-for figures, large."""
    shown = []
    if scores.agreement is not None:
        a = scores.agreement
        shown += [
            ("PNMI", f"{a.pnmi:.2f}", f"{a.units} units, {a.phones} phones"),
            ("phone purity", f"{a.phone_purity:.0%}", f"cluster purity {a.cluster_purity:.0%}"),
        ]
    if scores.experiment is not None and scores.experiment.held_out is not None:
        e = scores.experiment
        other = f"always {e.held_out_majority}: {e.held_out_majority_accuracy:.0%}"
        shown.append(("read as phones, held out", f"{e.held_out:.0%}", other))
    if scores.boundaries is not None:
        b = scores.segmented or scores.boundaries
        shown.append(
            (
                "boundary F1",
                f"{b.f1:.2f}",
                f"R-value {b.r_value:.2f}" + " after DPDP" * (b is scores.segmented),
            )
        )
    heard = [p for p in scores.probes if (p.target, p.vectors, p.kind) == ("speaker", "quantized", "mlp")]
    shown += [("voice read from a code", f"{p.accuracy:.0%}", f"by chance {p.chance:.0%}") for p in heard]
    across = [a for a in scores.abx if (a.representation, a.speaker) == ("quantized", "across")]
    shown += [("ABX across voices", f"{a.error:.1f} %", "triphones, code vectors") for a in across]
    shown.append(
        ("bitrate", f"{scores.codes.bitrate:.0f}", f"bit/s, perplexity {scores.codes.perplexity:.0f}")
    )
    made = "".join(
        f"<div class=tile><span>{escape(name)}</span><strong>{value}</strong>"
        f"<span>{escape(beside)}</span></div>"
        for name, value, beside in shown
    )
    return f'<section class="tiles" aria-label="in short">{made}</section>'


def unit_rows(scores: UnitScores) -> str:
    """Every unit that occurs: its three phones, frequency and duration."""
    rows = []
    for row in scores.units:
        best: list[Cell] = [f"{phone} {p:.2f}" for phone, p in row.phones]
        best += [""] * (3 - len(best))
        rows.append(
            (
                f'<button type="button" data-unit="{row.unit}" aria-label="play unit {row.unit}">▶</button>',
                (f"{row.unit}", row.unit), *best, (f"{row.share:.2%}", row.share),
                (f"{row.segments}", row.segments), (f"{row.median_duration:.0f}", row.median_duration),
            )
        )  # fmt: skip
    heads = ("", "unit", "likeliest phone", "second", "third", "share of frames", "segments", "median ms")
    return f'<div class="tall">{_table(heads, rows)}</div>'


def phone_rows(scores: UnitScores) -> str:
    """Every phone with the unit that finds it best; nothing without phones."""
    if not scores.phones:
        return ""
    rows = (
        (escape(r.phone), (f"{r.frames}", r.frames), (f"{r.unit}", r.unit),
         (f"{r.precision:.2f}", r.precision), (f"{r.recall:.2f}", r.recall), (f"{r.f1:.2f}", r.f1))
        for r in scores.phones
    )  # fmt: skip
    heads = ("phone", "frames", "best unit", "precision", "recall", "F1")
    return f"<details><summary>The best unit of each phone</summary>{_table(heads, rows)}</details>"


def voice_rows(scores: UnitScores) -> str:
    """Every voice's use of the units."""
    rows = (
        (escape(v.speaker), (f"{v.recordings}", v.recordings), (f"{v.frames}", v.frames),
         (f"{v.kinds}", v.kinds), (f"{v.perplexity:.0f}", v.perplexity),
         (f"{v.information:.2f}", v.information))
        for v in scores.speakers.voices
    )  # fmt: skip
    use = scores.speakers
    chance = "" if use.by_chance is None else f", of which {use.by_chance:.2f} by chance"
    told = (
        f"A frame's unit tells {use.information:.2f} of {use.speaker_entropy:.2f} bits of who speaks{chance}."
    )
    heads = ("voice", "recordings", "frames", "units used", "perplexity", "bits from all")
    return f"{_table(heads, rows)}<p>{told}</p>"


def ngram_rows(scores: UnitScores) -> str:
    """Units, pairs and triples without repeats."""
    rows = (
        (f"{n.order}", f"{n.total}", f"{n.distinct}", f"{n.entropy:.2f}", f"{n.conditional_entropy:.2f}",
         escape(",  ".join(f"{'-'.join(map(str, units))} ({count})" for units, count in n.top[:4])))
        for n in scores.ngrams
    )  # fmt: skip
    heads = ("n", "n-grams", "kinds", "bits", "bits of the last", "most frequent")
    return _table(heads, rows, sortable=False)


def probe_rows(scores: UnitScores) -> str:
    """Probes before and after quantization; nothing if there are none."""
    if not scores.probes:
        return ""
    found = {(p.target, p.kind, p.vectors): p for p in scores.probes}
    rows = []
    for target, kind in dict.fromkeys((p.target, p.kind) for p in scores.probes):
        before, after = (found[target, kind, vectors] for vectors in VECTORS)
        whole = "–" if after.by_recording is None else f"{after.by_recording:.0%}"
        rows.append(
            (target, "linear" if kind == "linear" else "hidden layer", f"{before.accuracy:.1%}",
             f"{after.accuracy:.1%}", f"{after.majority:.1%}", f"{after.chance:.1%}", whole)
        )  # fmt: skip
    heads = ("what is read", "probe", "before", "after", "majority", "chance", "whole recordings, after")
    return (
        "<section><h2>What a frame gives away</h2><p>Frames of held-out recordings that a small classifier "
        f"names right, from the vector before and after quantization.</p>{_table(heads, rows)}</section>"
    )


def abx_rows(scores: UnitScores) -> str:
    """ABX errors; nothing if there are none."""
    if not scores.abx:
        return ""
    rows = (
        (a.representation, a.speaker, (f"{a.error:.2f}", a.error), (f"{a.triples}", a.triples))
        for a in scores.abx
    )
    heads = ("vectors", "voices", "error in %", "triples")
    return (
        "<section><h2>ABX</h2><p>How often a triphone seems nearer to one that differs in its middle phone "
        f"than to one that does not; chance is 50 %.</p>{_table(heads, rows)}</section>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, sortable: bool = True) -> str:
    first = "".join(f"<th>{head}</th>" if head else "<td></td>" for head in heads)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    look = "sortable units" if sortable else "units"
    return (
        f'<div class="wide" tabindex="0"><table class="{look}"><thead><tr>{first}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    return f"<td>{cell}</td>" if isinstance(cell, str) else f'<td data-value="{cell[1]:.6g}">{cell[0]}</td>'
