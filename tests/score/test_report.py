"""Medians, files and the page."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console

from speechvq.errors import BadSetting
from speechvq.score.codes import runs, score_codes
from speechvq.score.report import write_report
from speechvq.score.results import About, ConversionScores
from speechvq.score.summary import as_csv, summarise


@pytest.fixture(scope="module")
def scores(rows) -> ConversionScores:
    stream = torch.tensor([3, 3, 3, 9, 9, 250, 250, 250, 250, 1] * 10)
    return ConversionScores(
        rows=tuple(rows),
        codes=score_codes([stream], [2.0], 256),
        about=About("speechvq score conversion m.jsonl", "0123456789abcdef", 50.0, 256, 1, "a machine"),
        units={("slt", "s1"): runs(stream)},
    )


class Reader(HTMLParser):
    """Collects tags with their attributes, and checks that they close in order."""

    EMPTY = frozenset({"meta", "link", "img", "br", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def read(path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def addresses(reader: Reader) -> list[str]:
    return [a[k] for _, a in reader.seen for k in ("src", "href") if a.get(k)]


def test_the_page_carries_everything_inside(scores, tmp_path):
    reader = read(write_report(scores, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    assert all(address.startswith("data:") for address in addresses(reader))
    tags = [tag for tag, _ in reader.seen]
    assert tags.count("audio") == 3  # one source, two conversions
    assert tags.count("rect") == 40  # one a run
    assert tags.count("img") == 3


def test_a_large_page_keeps_its_sounds_beside_it(scores, tmp_path):
    reader = read(write_report(scores, tmp_path, limit=1000))
    beside = [address for address in addresses(reader) if not address.startswith("data:")]
    assert len(beside) == 6
    assert all((tmp_path / address).stat().st_size > 0 for address in beside)
    before = (tmp_path / "index.html").stat().st_size
    assert before < 100_000


def test_no_address_leads_away(scores, tmp_path):
    page = write_report(scores, tmp_path).read_text(encoding="utf-8")
    without_sound = re.sub(r"data:[^\"]*", "", page)
    assert not re.search(r"https?:|//\w+\.|url\(", without_sound)


def test_every_button_and_picture_has_its_player(scores, tmp_path):
    seen = read(write_report(scores, tmp_path)).seen
    players = {a["id"] for tag, a in seen if tag == "audio"}
    assert {a["data-play"] for _, a in seen if "data-play" in a} <= players
    assert {a["data-for"] for _, a in seen if "data-for" in a} == players


def test_names_and_words_cannot_break_the_page(scores, tmp_path):
    evil = "</script><script>alert(1)</script>\"'&"
    rows = tuple(
        replace(
            row,
            pair=replace(row.pair, text=evil, target_speaker=evil, utterance=evil),
            score=replace(row.score, transcript=evil, source_transcript=evil),
        )
        for row in scores.rows
    )
    page = write_report(replace(scores, rows=rows), tmp_path).read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    read(tmp_path / "index.html")


def test_a_page_about_nothing_is_refused(scores, tmp_path):
    with pytest.raises(BadSetting, match="no conversions"):
        write_report(replace(scores, rows=()), tmp_path)


def test_medians_by_group(rows):
    first, second = (row.score for row in rows)
    total, part = summarise(rows, {"slt": "women"})
    assert (total.source, total.target, total.pairs) == ("all", "all", 2)
    assert (part.source, part.target) == ("women", "rms")
    assert total.closer == 0.5
    assert total.target_similarity == pytest.approx((first.target_similarity + second.target_similarity) / 2)
    assert total.source_mos == first.source_mos
    assert total.duration_difference == pytest.approx(0.215 / 2)
    assert summarise([]) == []


def test_the_table_fits_eighty_columns_uncut(scores):
    console = Console(width=80, file=io.StringIO())
    console.print(scores.table())
    text = console.file.getvalue()
    assert "…" not in text
    assert "50%" in text


def test_json_and_csv_say_the_same(scores):
    parts = json.loads(scores.as_json())
    lines = list(csv.DictReader(io.StringIO(as_csv(scores.rows))))
    assert len(parts["rows"]) == len(lines) == 2
    assert float(lines[0]["target_similarity"]) == parts["rows"][0]["target_similarity"]
    assert parts["about"]["codec"] == "0123456789abcdef"
    assert parts["units"][0]["runs"][1] == [9, 3, 5]
    assert parts["summary"][0]["pairs"] == 2
    assert as_csv([]) == ""
