"""What is written of the units of some recordings: JSON, CSV, TextGrids, and one static page.

No address in the page points outside the folder it is written to. The page shows which unit is which phone,
and every unit can be listened to: in each recording, and alone in a montage of its segments.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.score import unit_charts as charts
from speechvq.score import unit_tables as tables
from speechvq.score.choice import clip
from speechvq.score.figures import Attachments
from speechvq.score.segments import collapse
from speechvq.score.speech import samples_of
from speechvq.score.streams import Stream
from speechvq.score.unit_beside import Point, beside, point
from speechvq.score.unit_lists import joint_csv, units_csv
from speechvq.score.unit_scores import UnitScores
from speechvq.score.unit_sounds import montages, recording
from speechvq.store.alignments import Interval, write_textgrid
from speechvq.store.atomic import atomic, refuse
from speechvq.store.manifest import Entry

FILES = ("units.json", "units.csv", "index.html")
"""What the folder always gets, beside ``joint.csv`` (with phones) and ``textgrids``."""


@dataclass(frozen=True)
class PageSettings:
    """How much of the recordings the page holds.

    Raises:
        BadSetting: a negative number.
    """

    recordings: int = 8  # shown with their tiers
    montages: int = 48  # units that get a montage, the most frequent first
    limit: int = 12_000_000  # bytes of sound and pictures inside the page; with more they lie beside it
    seed: int = 0  # chooses the recordings and the order of segments

    def __post_init__(self) -> None:
        for name in ("recordings", "montages", "limit", "seed"):
            if getattr(self, name) < 0:
                raise BadSetting(f"{name} must be at least 0, not {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class UnitReport:
    """Scores with what they are of.

    Attributes:
        scores: what was measured.
        streams: the recordings.
        entries: where each stream comes from, in the same order.
        codes: (K, D) code vectors; None for several codebooks.
        about: where the figures come from: command, codec, frame_rate, codebook_size, machine.
        others: codecs to be shown beside this one.
    """

    scores: UnitScores
    streams: Sequence[Stream]
    entries: Sequence[Entry]
    codes: np.ndarray | None
    about: Mapping[str, Any]
    others: Sequence[Point] = ()

    def __post_init__(self) -> None:
        if len(self.streams) != len(self.entries) or not self.streams:
            raise BadSetting(f"{len(self.streams)} streams of {len(self.entries)} recordings make no report")


def entries_of(streams: Sequence[Stream], entries: Sequence[Entry]) -> list[Entry]:
    """The entry that each stream was made from; both in the same order, some entries without a stream."""
    found, left = [], iter(entries)
    for stream in streams:
        for entry in left:
            named = stream.name.startswith(f"{entry.speaker}/{entry.utterance}")
            if named and stream.seconds == entry.duration:
                found.append(entry)
                break
    return found


def write_units(
    report: UnitReport,
    out: Path,
    *,
    settings: PageSettings = PageSettings(),  # noqa: B008 (frozen)
    force: bool = False,
) -> Path:
    """Write the folder ``out``; returns the path of the page.

    Raises:
        WouldOverwrite: ``out`` holds a report and ``force`` is False.
        BadAudio: a recording cannot be read.
    """
    for name in FILES:
        refuse(out / name, force=force)
    texts = {"units.json": report.scores.as_json(report.about), "units.csv": units_csv(report.scores)}
    if report.scores.joint is not None:
        texts["joint.csv"] = joint_csv(report.scores.joint)
    for stream in report.streams:
        write_unit_tier(stream, out / "textgrids" / f"{stream.name}.TextGrid")
    attachments = Attachments(out / "page", settings.limit)
    texts["index.html"] = attachments.resolve(_page(report, attachments, settings))
    for name, text in texts.items():
        with atomic(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / "index.html"


def write_unit_tier(stream: Stream, path: Path) -> None:
    """A TextGrid with the runs of units of a recording, and its phones where they are known."""
    tiers = {"units": [
        Interval(str(run.unit[0]), run.start / stream.frame_rate, run.end / stream.frame_rate)
        for run in collapse(stream)
    ]}  # fmt: skip
    if stream.phones:
        tiers["phones"] = list(stream.phones)
    end = max(tier[-1].end for tier in tiers.values() if tier) if any(tiers.values()) else 0.0
    write_textgrid(path, tiers, duration=max(end, stream.seconds))


def _page(report: UnitReport, attachments: Attachments, settings: PageSettings) -> str:
    waves = [samples_of(clip(entry)) for entry in report.entries]
    body = "".join(
        [
            _head(report), tables.tiles(report.scores), _meanings(report),
            _listen(report, waves, attachments, settings), _montages(report, waves, attachments, settings),
            _statistics(report), _beside(report), _notes(report),
        ]
    )  # fmt: skip
    parts = files("speechvq.score") / "page"
    styles, scripts = (
        "".join((parts / f"{name}.{kind}").read_text("utf-8") for name in ("page", "units"))
        for kind in ("css", "js")
    )
    page = Template((parts / "page.html").read_text("utf-8"))
    return page.substitute(title="What the units mean", style=styles, script=scripts, body=body)


def _head(report: UnitReport) -> str:
    scores, about = report.scores, report.about
    voices = len(scores.speakers.voices)
    return (
        f"<header><h1>What the units mean</h1><p>{scores.recordings} recordings of {voices} voices, "
        f"{scores.seconds:.0f} seconds, heard as {about['frame_rate']:g} units a second out of "
        f"{about['codebook_size']}: {scores.codes.bitrate:.0f} bit/s, or "
        f"{scores.codes.deduplicated_bitrate:.0f} bit/s when a held unit is sent once.</p></header>"
    )


def _meanings(report: UnitReport) -> str:
    scores, parts = report.scores, []
    if scores.joint is not None:
        parts.append(
            "<section><h2>Phones and units</h2><p>Each column is a unit and says which phones are spoken "
            f"while it is heard. A clean diagonal is a unit for each phone.</p>"
            f"{charts.heat_map(scores.joint)}</section>"
        )
        order = [scores.joint.units[column] for column in scores.joint.order]
    else:
        order = [row.unit for row in scores.units]
    parts.append(
        "<section><h2>Units and voices</h2><p>A unit that only one voice uses says who speaks, not what. All "
        f"voices count alike.</p>{charts.speaker_chart(report.streams, order)}"
        f"{tables.voice_rows(scores)}</section>"
    )
    parts.append(
        "<section><h2>What each unit is</h2><p>Click a heading to sort, ▶ to hear the unit.</p>"
        f"{tables.unit_rows(scores)}{tables.phone_rows(scores)}</section>"
    )
    if report.codes is not None:
        parts.append(
            "<section><h2>Map of the code vectors</h2><p>Each dot is a unit that occurs, larger if more "
            "frequent, coloured by the class of its most probable phone. Click one to hear it.</p>"
            f"{charts.code_map(report.codes, scores.units)}</section>"
        )
    return "".join(parts)


def _listen(
    report: UnitReport, waves: Sequence[Tensor], attachments: Attachments, settings: PageSettings
) -> str:
    most = min(settings.recordings, len(report.streams))
    if not most:
        return ""
    shown = zip(report.streams[:most], waves, report.entries, strict=False)
    cards = [recording(s, w, f"r{i}", e.text, attachments) for i, (s, w, e) in enumerate(shown)]
    advice = "Click a unit or a phone to hear it alone, or the picture to play from there."
    return f"<section><h2>Recordings</h2><p>{advice}</p>{''.join(cards)}</section>"


def _montages(
    report: UnitReport, waves: Sequence[Tensor], attachments: Attachments, settings: PageSettings
) -> str:
    if not settings.montages:
        return ""
    most, seed = settings.montages, settings.seed
    chips = montages(report.streams, waves, report.scores.units, attachments, most=most, seed=seed)
    return (
        "<section><h2>One unit after the other</h2><p>Segments of one unit from all recordings, with short "
        f"silences between them; the most frequent units first.</p>{chips}</section>"
    )


def _statistics(report: UnitReport) -> str:
    scores = report.scores
    return (
        '<section><h2>Durations and frequencies</h2><div class="charts">'
        f"{charts.duration_chart(scores.unit_durations, scores.phone_durations)}"
        f"{charts.zipf_chart(scores.zipf)}</div>"
        f"{tables.ngram_rows(scores)}</section>{tables.probe_rows(scores)}{tables.abx_rows(scores)}"
    )


def _beside(report: UnitReport) -> str:
    if not report.others or report.scores.joint is None:
        return ""
    return beside(
        [point("this one", json.loads(report.scores.as_json(report.about))), *report.others],
        charts.purity_chart,
    )


def _notes(report: UnitReport) -> str:
    about = report.about
    return (
        "<footer><h2>How it was measured</h2><p>A frame has the phone at its centre. Phone purity: frames "
        "right when each unit is read as its most frequent phone. PNMI: share of the phone's information "
        "that the unit holds. Boundaries count when within 20 ms. Bitrate: by the rule of the ZeroSpeech "
        "challenge of 2019. Probes learn from some recordings of each voice and are scored on others.</p>"
        f"<p><code>{escape(about['command'])}</code></p><p>Codec {escape(about['codec'])}. "
        f"{escape(about['machine'])}.</p></footer>"
    )
