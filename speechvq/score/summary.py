"""Medians and shares of many scored conversions, by source and target voice, as rows and as a table."""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich import box
from rich.table import Table
from torch import Tensor

from speechvq.score.pairs import Row
from speechvq.score.speech import Clip, Recording

EVERY = "all"
"""The name of the group of all voices."""


@dataclass(frozen=True)
class Summary:
    """Medians over the conversions from one group of voices into another; None: nothing to measure.

    Attributes:
        source: the source group, or "all".
        target: the target group, or "all".
        pairs: number of conversions.
        wer: median word error rate.
        source_wer: that of the source recordings themselves, each counted once.
        target_similarity: median cosine to the target voice.
        source_similarity: median cosine to the source voice.
        closer: share of conversions closer to the target than to the source.
        mos: median DNSMOS overall.
        source_mos: that of the source recordings, each counted once.
        f0_correlation: median correlation of log-F0 with the source.
        mcd: median mel-cepstral distortion in dB.
        duration_difference: median absolute difference in seconds.
    """

    source: str
    target: str
    pairs: int
    wer: float | None
    source_wer: float | None
    target_similarity: float
    source_similarity: float
    closer: float
    mos: float
    source_mos: float
    f0_correlation: float | None
    mcd: float | None
    duration_difference: float


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("wer", "WER", ".2f"),
    ("source_wer", "source's WER", ".2f"),
    ("target_similarity", "like target", ".2f"),
    ("source_similarity", "like source", ".2f"),
    ("closer", "closer to target", ".0%"),
    ("mos", "DNSMOS", ".2f"),
    ("source_mos", "source's DNSMOS", ".2f"),
    ("f0_correlation", "F0 corr.", ".2f"),
    ("mcd", "MCD dB", ".1f"),
    ("duration_difference", "seconds off", ".2f"),
)
"""Field of `Summary`, heading, format: what tables show, in this order."""

TERMINAL = {
    "wer": "WER", "source_wer": "WER\nsrc", "target_similarity": "like\ntgt",
    "source_similarity": "like\nsrc", "closer": "near\ntgt", "mos": "MOS", "source_mos": "MOS\nsrc",
    "f0_correlation": "F0\ncorr", "mcd": "MCD\ndB", "duration_difference": "off\ns",
}  # fmt: skip
"""The same headings, narrow."""


def summarise(rows: Sequence[Row], groups: Mapping[str, str] | None = None) -> list[Summary]:
    """All rows together first, then each pair of groups that occurs, in alphabetical order.

    Args:
        rows: scored conversions.
        groups: voice to group name; a voice that is not in it is a group of its own.
    """
    if not rows:
        return []
    groups = groups or {}
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        names = (row.pair.source_speaker, row.pair.target_speaker)
        source, target = (groups.get(name, name) for name in names)
        cells.setdefault((source, target), []).append(row)
    parts = [_summary(source, target, cells[source, target]) for source, target in sorted(cells)]
    return [_summary(EVERY, EVERY, rows), *parts]


def table(summaries: Iterable[Summary], title: str = "Conversion: medians") -> Table:
    """The summaries as a `rich` table that fits 80 columns; print it with ``rich.print``."""
    made = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    made.add_column("from")
    made.add_column("to")
    made.add_column("n", justify="right")
    for field, *_ in COLUMNS:
        made.add_column(TERMINAL[field], justify="right", no_wrap=True)
    for item in summaries:
        figures = [show(getattr(item, field), style) for field, _, style in COLUMNS]
        made.add_row(item.source, item.target, str(item.pairs), *figures)
    return made


def show(value: float | None, style: str) -> str:
    """A figure in a format, or a dash when there is none."""
    return "–" if value is None else format(value, style)


def plain_row(row: Row) -> dict[str, object]:
    """A row as plain values, the pair's first: what the JSON and the CSV hold."""
    pair = row.pair
    names: dict[str, object] = {
        "utterance": pair.utterance,
        "source_speaker": pair.source_speaker,
        "target_speaker": pair.target_speaker,
        "source": place(pair.source),
        "converted": place(pair.converted),
        "text": pair.text,
    }
    return names | asdict(row.score) | {"closer": row.score.closer}


def as_csv(rows: Sequence[Row]) -> str:
    """All rows as comma-separated values under a heading; nothing between commas where there is none."""
    file = io.StringIO()
    plain = [plain_row(row) for row in rows]
    if plain:
        writer = csv.DictWriter(file, list(plain[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain)
    return file.getvalue()


def place(recording: Recording) -> str | None:
    """Where a recording is, if it is a file."""
    if isinstance(recording, Tensor):
        return None
    return recording.path if isinstance(recording, Clip) else str(recording)


def _summary(source: str, target: str, rows: Sequence[Row]) -> Summary:
    scores = [row.score for row in rows]
    sources = {(row.pair.source_speaker, row.pair.utterance): row.score for row in rows}.values()
    return Summary(
        source=source,
        target=target,
        pairs=len(rows),
        wer=_median(score.wer for score in scores),
        source_wer=_median(score.source_wer for score in sources),
        target_similarity=statistics.median(score.target_similarity for score in scores),
        source_similarity=statistics.median(score.source_similarity for score in scores),
        closer=sum(score.closer for score in scores) / len(scores),
        mos=statistics.median(score.mos for score in scores),
        source_mos=statistics.median(score.source_mos for score in sources),
        f0_correlation=_median(score.f0_correlation for score in scores),
        mcd=_median(score.mcd for score in scores),
        duration_difference=statistics.median(abs(score.duration_difference) for score in scores),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
