"""One static page to look at and listen to: every conversion of a run with its figures.

No address in it points outside the folder it is written to.
"""

from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from speechvq.errors import BadSetting
from speechvq.score.figures import Attachments, player, spectrogram, timeline
from speechvq.score.pairs import PairScore, Row
from speechvq.score.results import ConversionScores
from speechvq.score.speech import samples_of
from speechvq.score.summary import COLUMNS, EVERY, Summary, show
from speechvq.store.atomic import atomic

MATRICES = (
    ("wer", "Word error rate", ".2f", 1.0),
    ("target_similarity", "Like the target", ".2f", 1.0),
    ("closer", "Closer to the target than to the source", ".0%", 1.0),
    ("mos", "DNSMOS", ".2f", 5.0),
)
"""Field of `Summary`, title, format, and the value at which a cell is darkest."""

ROW_COLUMNS: tuple[tuple[str, str, Callable[[PairScore], float | None], str], ...] = (
    ("WER", "word error rate", lambda s: s.wer, ".2f"),
    ("source's WER", "word error rate of the source recording", lambda s: s.source_wer, ".2f"),
    ("like target", "cosine to the target voice", lambda s: s.target_similarity, ".2f"),
    ("like source", "cosine to the source voice", lambda s: s.source_similarity, ".2f"),
    ("DNSMOS", "predicted quality, 1 to 5", lambda s: s.mos, ".2f"),
    ("source's DNSMOS", "the same of the source recording", lambda s: s.source_mos, ".2f"),
    ("F0 corr.", "correlation of log-F0 with the source", lambda s: s.f0_correlation, ".2f"),
    ("MCD", "mel-cepstral distortion in dB to the target's own recording", lambda s: s.mcd, ".1f"),
    ("seconds off", "length minus the source's", lambda s: s.duration_difference, "+.2f"),
)


def write_report(scores: ConversionScores, out: Path, *, limit: int = 8_000_000) -> Path:
    """Write ``index.html`` into the folder ``out``.

    Args:
        scores: what to show.
        out: the folder; sounds and pictures go beside the page, into ``out/page``, when it gets large.
        limit: bytes of sound and pictures that the page may carry inside.

    Returns:
        The path of the page.

    Raises:
        BadSetting: there are no conversions to show.
    """
    if not scores.rows:
        raise BadSetting("there are no conversions to show on a page")
    attachments = Attachments(out / "page", limit)
    cards = _cards(scores, attachments)
    body = "".join([_head(scores), _tiles(scores), _matrices(scores), cards, _rows(scores), _notes(scores)])
    parts = files("speechvq.score") / "page"
    page = Template((parts / "page.html").read_text("utf-8")).substitute(
        title="Voices out of units",
        style=(parts / "page.css").read_text("utf-8"),
        script=(parts / "page.js").read_text("utf-8"),
        body=body,
    )
    with atomic(out / "index.html") as temporary:
        temporary.write_text(attachments.resolve(page), encoding="utf-8")
    return out / "index.html"


def _head(scores: ConversionScores) -> str:
    about, codes = scores.about, scores.codes
    sources = len(_by_source(scores))
    codebooks = "" if about.num_codebooks == 1 else f", {about.num_codebooks} a frame"
    return (
        f"<header><h1>Voices out of units</h1><p>{sources} recordings that were kept out of training, each "
        f"spoken again in other voices: {len(scores.rows)} conversions. The codec hears "
        f"{about.frame_rate:g} frames a second as one of {about.codebook_size} units{codebooks}, "
        f"{codes.bitrate:.0f} bit/s; {codes.usage:.0%} of the units occur here "
        f"(perplexity {codes.perplexity:.0f}), and sending each run of equal frames once takes "
        f"{codes.deduplicated_bitrate:.0f} bit/s without and "
        f"{codes.deduplicated_bitrate + codes.duration_bitrate:.0f} bit/s with durations.</p></header>"
    )


def _tiles(scores: ConversionScores) -> str:
    total = scores.summary[0]
    figures = (
        ("median WER", show(total.wer, ".2f"), f"sources {show(total.source_wer, '.2f')}"),
        ("closer to the target", show(total.closer, ".0%"), "than to the source voice"),
        (
            "median likeness to target",
            show(total.target_similarity, ".2f"),
            f"to source {show(total.source_similarity, '.2f')}",
        ),
        ("median DNSMOS", show(total.mos, ".2f"), f"sources {show(total.source_mos, '.2f')}"),
        ("log-F0 correlation", show(total.f0_correlation, ".2f"), "with the source"),
        ("MCD", show(total.mcd, ".1f"), "dB, where the target said the words too"),
    )
    tiles = "".join(
        f"<div class=tile><span>{label}</span><strong>{value}</strong><span>{beside}</span></div>"
        for label, value, beside in figures
    )
    return f'<section class="tiles" aria-label="in short">{tiles}</section>'


def _matrices(scores: ConversionScores) -> str:
    summaries = [item for item in scores.summary if item.source != EVERY]
    made = "".join(_matrix(summaries, *matrix) for matrix in MATRICES)
    heads = "".join(f"<th>{heading}</th>" for _, heading, _ in COLUMNS)
    lines = "".join(
        f"<tr><th>{escape(s.source)}</th><th>{escape(s.target)}</th><td>{s.pairs}</td>"
        + "".join(_cell(getattr(s, name), style) for name, _, style in COLUMNS)
        + "</tr>"
        for s in scores.summary
    )
    return (
        "<section><h2>From whom to whom</h2><p>Medians; sources are rows, targets are columns, a stronger "
        f'colour is a higher figure.</p><div class="matrices">{made}</div><details><summary>All medians'
        '</summary><div class="wide"><table class="sortable"><thead><tr><th>from</th><th>to</th>'
        f"<th>pairs</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div></details></section>"
    )


def _matrix(summaries: list[Summary], name: str, title: str, style: str, full: float) -> str:
    found = {(s.source, s.target): getattr(s, name) for s in summaries}
    targets = sorted({target for _, target in found})
    lines = []
    for source in sorted({source for source, _ in found}):
        cells = []
        for target in targets:
            value = found.get((source, target))
            share = 0 if value is None else min(1.0, value / full)
            cells.append(f'<td style="--share:{share:.3f}">{show(value, style)}</td>')
        lines.append(f"<tr><th>{escape(source)}</th>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{escape(target)}</th>" for target in targets)
    return (
        f'<figure class="wide"><figcaption>{title}</figcaption><table class="matrix"><thead><tr><th></th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></figure>"
    )


def _cards(scores: ConversionScores, attachments: Attachments) -> str:
    cards = []
    for number, rows in enumerate(_by_source(scores)):
        first, name = rows[0].pair, f"s{number}"
        wave = samples_of(first.source)
        units = scores.units.get((first.source_speaker, first.utterance), ())
        said = escape(first.text) if first.text else escape(first.utterance)
        score = rows[0].score
        facts = f"WER {show(score.source_wer, '.2f')}, DNSMOS {show(score.source_mos, '.2f')}"
        if score.source_transcript:
            facts += f", heard as “{escape(score.source_transcript)}”"
        turns = "".join(_turn(row, f"{name}t{i}", attachments) for i, row in enumerate(rows))
        cards.append(
            f'<article><h3>{said}</h3><div class="source"><p><b>{escape(first.source_speaker)}</b>, the '
            f"source. {facts}</p>{player(wave, name, f'source, {first.source_speaker}', attachments)}"
            f'<div class="wide figure" tabindex="0">{timeline(wave, units, scores.about.frame_rate, name)}'
            f"{spectrogram(wave, name, attachments, scale=True)}</div></div>"
            f'<div class="turns">{turns}</div></article>'
        )
    advice = "Click into a picture to play from there."
    return f"<section><h2>Listen</h2><p>{advice}</p>{''.join(cards)}</section>"


def _turn(row: Row, name: str, attachments: Attachments) -> str:
    wave, score, target = samples_of(row.pair.converted), row.score, row.pair.target_speaker
    heard = f"<p>heard as “{escape(score.transcript)}”</p>" if score.transcript else ""
    return (
        f'<div class="turn"><p><b>as {escape(target)}</b> WER {show(score.wer, ".2f")}, like target '
        f"{score.target_similarity:.2f}, like source {score.source_similarity:.2f}, "
        f"DNSMOS {score.mos:.2f}</p>{player(wave, name, f'converted to {target}', attachments)}"
        f"{spectrogram(wave, name, attachments)}{heard}</div>"
    )


def _rows(scores: ConversionScores) -> str:
    heads = "".join(f'<th title="{title}">{heading}</th>' for heading, title, _, _ in ROW_COLUMNS)
    lines = []
    for number, rows in enumerate(_by_source(scores)):
        for i, row in enumerate(rows):
            pair = row.pair
            play = f'<button type="button" data-play="s{number}t{i}" aria-label="play">▶</button>'
            cells = "".join(_cell(value(row.score), style) for _, _, value, style in ROW_COLUMNS)
            lines.append(
                f"<tr><td>{play}</td><th>{escape(pair.source_speaker)}</th>"
                f"<th>{escape(pair.target_speaker)}</th><td>{escape(pair.utterance)}</td>{cells}</tr>"
            )
    return (
        "<section><h2>Every conversion</h2><p>Click a heading to sort.</p>"
        '<div class="wide"><table class="sortable"><thead><tr><td></td><th>from</th><th>to</th>'
        f"<th>utterance</th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _notes(scores: ConversionScores) -> str:
    about = scores.about
    return (
        "<footer><h2>How it was measured</h2><p>WER: word error rate of Whisper tiny.en on the recording, 0 "
        "is perfect; none where the text is unknown or not English. Like target, like source: cosine of the "
        "conversion's speaker embedding with the mean of several other recordings of that voice. DNSMOS: "
        "predicted overall quality, 1 to 5. MCD: mel-cepstral distortion along a warping path.</p>"
        f"<p><code>{escape(about.command)}</code></p><p>Codec {escape(about.codec)}. Judges: "
        f"{escape(about.judges)}. {escape(about.machine)}.</p></footer>"
    )


def _by_source(scores: ConversionScores) -> list[list[Row]]:
    cards: dict[tuple[str, str], list[Row]] = {}
    for row in scores.rows:
        cards.setdefault((row.pair.source_speaker, row.pair.utterance), []).append(row)
    return list(cards.values())


def _cell(value: float | None, style: str) -> str:
    sort = "" if value is None else f"{value:.6g}"
    return f'<td data-value="{sort}">{show(value, style)}</td>'
