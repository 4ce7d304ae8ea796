"""The unit report: what is written, that it says what was measured, and the page in a real browser."""

import csv
import json
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq.errors import BadSetting, WouldOverwrite
from speechvq.score.phone_classes import CLASSES, phone_class
from speechvq.score.probes import ProbeSettings
from speechvq.score.segments import collapse
from speechvq.score.speech import samples_of
from speechvq.score.streams import Stream
from speechvq.score.unit_beside import read_point
from speechvq.score.unit_report import PageSettings, UnitReport, entries_of, write_units
from speechvq.score.unit_scores import score_units
from speechvq.score.unit_sounds import GAP, RATE, montage, segments_of
from speechvq.speech.audio import write_audio
from speechvq.store.alignments import Interval, read_alignment
from speechvq.store.manifest import Entry

from .browser import PROGRAM, Browser

PHONES = ("SIL", "aa", "s", "t", "m", "ey", "<b>&")
UNITS = 24


def made(voice: str, number: int) -> Stream:
    """A second of phones, each of 80 ms, and units that tell the phone most of the time."""
    phones = np.random.randint(0, len(PHONES), 12)
    frames = phones.repeat(4)
    units = np.where(np.random.rand(48) < 0.8, frames * 3 + np.random.randint(0, 3, 48), 23)
    spoken = tuple(Interval(PHONES[p], 0.08 * i, 0.08 * (i + 1)) for i, p in enumerate(phones.tolist()))
    latents = np.random.randn(48, 5).astype(np.float32)
    return Stream(
        f"{voice}/u{number}", voice, units[:, None], 50.0, 0.97, spoken, UNITS,
        latents=latents, quantized=np.random.randn(UNITS, 5).astype(np.float32)[units],
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> UnitReport:
    np.random.seed(1)
    folder = tmp_path_factory.mktemp("sound")
    streams = [made(voice, i) for voice in ("ann", "<bob>") for i in range(3)]
    entries = []
    for place, stream in enumerate(streams):
        path = folder / f"{place}.flac"
        write_audio(path, 0.1 * torch.randn(1, round(0.97 * RATE)), RATE)
        text = "<script>alert(1)</script>" if place == 0 else None
        entries.append(Entry(str(path), 0.0, 0.97, stream.speaker, f"u{place % 3}", "test", text))
    codes = np.random.randn(UNITS, 5).astype(np.float32)
    settings = ProbeSettings(iterations=5, hidden=4)
    scores = score_units(
        streams, codebook_size=UNITS, codes=codes, genders={"ann": "woman", "<bob>": "man"}, settings=settings
    )
    about = {
        "command": "score <units>",
        "codec": "0123",
        "frame_rate": 50.0,
        "codebook_size": UNITS,
        "machine": "m",
    }
    return UnitReport(scores, streams, entries, codes, about)


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_units(report, out, settings=PageSettings(recordings=2, montages=6))
    return out


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_json_and_csv_say_what_was_measured(report, folder):
    figures = json.loads((folder / "units.json").read_text())
    scores = report.scores
    assert figures["agreement"]["pnmi"] == scores.agreement.pnmi
    assert figures["about"]["codec"] == "0123"
    assert len(figures["probes"]) == 12
    lines = list(csv.DictReader((folder / "units.csv").open()))
    assert [int(line["unit"]) for line in lines] == [row.unit for row in scores.units]
    frames = np.concatenate([stream.units for stream in report.streams])
    phones = np.array([p for stream in report.streams for p in stream.phone_frames()])
    for line in lines:
        here = frames == int(line["unit"])
        assert int(line["frames"]) == here.sum()
        assert float(line["p1"]) == pytest.approx((phones[here] == line["phone1"]).mean(), abs=1e-4)
    table = list(csv.reader((folder / "joint.csv").open()))
    assert sum(int(n) for row in table[1:] for n in row[1:]) == len(frames)


def test_textgrids_hold_the_runs_of_units(report, folder):
    for stream in report.streams:
        path = folder / "textgrids" / f"{stream.name}.TextGrid"
        found = [i for i in read_alignment(path, tier="units") if i.label]
        runs = collapse(stream)
        assert [i.label for i in found] == [str(run.unit[0]) for run in runs]
        assert [i.end for i in found] == pytest.approx([run.end / 50 for run in runs])
        assert [i.label for i in read_alignment(path, tier="phones") if i.label] == [
            p.label for p in stream.phones
        ]


def test_the_page_is_alone_and_whole(report, folder):
    page = (folder / "index.html").read_text()
    assert "alert(1)</script>" not in page
    assert not re.search(r"https?:|//\w+\.\w|\0", re.sub(r"data:[^\"]*", "", page))
    seen = Tags(page).seen
    ids = [a["id"] for _, a in seen if "id" in a]
    assert len(ids) == len(set(ids))
    players = {a["id"] for tag, a in seen if tag == "audio"}
    assert len(players) == 8  # two recordings, six montages
    assert {a["data-play"] for _, a in seen if "data-play" in a} <= players
    spoken = sum(len(collapse(s)) + len(s.phones) for s in report.streams[:2])
    assert sum("data-from" in a for _, a in seen) == spoken
    dots = [a for _, a in seen if str(a.get("class")).startswith("dot ")]
    assert len(dots) == len(report.scores.units)


def test_nothing_is_replaced_unasked(report, folder):
    with pytest.raises(WouldOverwrite):
        write_units(report, folder)
    with pytest.raises(BadSetting):
        UnitReport(report.scores, report.streams, report.entries[1:], None, {})
    with pytest.raises(BadSetting, match="recordings"):
        PageSettings(recordings=-1)


def test_streams_find_their_entries(report):
    assert entries_of(report.streams[1:3] + report.streams[4:], report.entries) == [
        *report.entries[1:3], *report.entries[4:],
    ]  # fmt: skip


def test_units_without_phones_have_a_report_too(report, tmp_path):
    bare = [Stream(s.name, s.speaker, s.codes, 50.0, s.seconds, None, UNITS) for s in report.streams]
    scores = score_units(bare, codebook_size=UNITS)
    assert (scores.joint, scores.agreement, scores.probes) == (None, None, ())
    assert len(scores.tables()) == 3
    page = write_units(UnitReport(scores, bare, report.entries, None, report.about), tmp_path)
    assert "Phones and units" not in page.read_text()
    assert not (tmp_path / "joint.csv").exists()


def test_a_montage_is_the_segments_of_one_unit(report):
    waves = [samples_of(entry.path) for entry in report.entries]
    unit = report.scores.units[0].unit
    segments = segments_of(report.streams)[unit]
    assert len(segments) == report.scores.units[0].segments
    whole = montage(segments, waves, most=1e9)
    gap = round(GAP * RATE)
    expected = sum(round(end * RATE) - round(start * RATE) + gap for _, start, end in segments)
    assert whole.shape == (1, expected)
    place, start, end = segments[0]
    middle = slice(round(start * RATE) + 60, round(end * RATE) - 60)
    assert torch.equal(montage(segments[:1], waves)[0, 60 : -60 - gap], waves[place][0, middle])
    assert montage(segments, waves, most=0.5).shape[1] <= RATE // 2 + gap


def test_other_codecs_stand_beside(report, folder, tmp_path):
    others = [read_point(folder), replace(read_point(folder), name="small", codebook_size=6, frame_rate=25.0)]
    assert others[0].pnmi == report.scores.agreement.pnmi
    page = write_units(replace(report, others=others), tmp_path, settings=PageSettings(0, 0)).read_text()
    assert "this one" in page
    assert "small" in page
    assert "Beside other" not in (folder / "index.html").read_text()
    with pytest.raises(BadSetting, match="cannot be read"):
        read_point(tmp_path / "nowhere")
    (tmp_path / "units.json").write_text('{"about": {}}')
    with pytest.raises(BadSetting, match="no unit scores"):
        read_point(tmp_path)


def test_every_phone_has_a_class():
    assert [phone_class(p) for p in ("AH0", "sh", "SIL", "pau", "ŋ", "dx")] == [
        "vowel", "fricative", "silence", "other", "other", "stop",
    ]  # fmt: skip
    assert {phone_class(p) for p in PHONES} <= set(CLASSES)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("there is no chromium on this machine")
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)], ids=["desktop", "phone"])
def test_in_a_browser(browser, folder, tmp_path, width, phone):
    browser.open(folder / "index.html", width=width, height=900, phone=phone)
    shot = browser.screenshot(tmp_path / "page.png")
    wide, tall = struct.unpack(">II", shot[16:24])
    assert wide == width  # nothing sticks out to the side
    assert tall > 2000
    assert browser.value("document.documentElement.scrollWidth") == width
    # The sound that a unit is cut from is as long as the recording: times are exact.
    lasting = "samples(document.getElementById('r0')).then(found => found.duration)"
    assert browser.value(lasting) == pytest.approx(0.97, abs=0.002)
    part = "document.querySelector('[data-from]')"
    browser.value(f"{part}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.value(
        "new Promise(r => setTimeout(() => r(sounding === undefined || !!sounding.source), 300))"
    )
    browser.value("document.querySelector('.chip button').click()")
    playing = (
        "new Promise(r => setTimeout(() => r(!!document.querySelector('.chip audio').currentTime), 500))"
    )
    assert browser.value(playing)
    head = "document.querySelector('.tall thead').rows[0].cells[1]"
    browser.value(f"{head}.click()")
    first = "document.querySelector('.tall tbody').rows[0].cells[1].textContent"
    assert int(browser.value(first)) == browser.value(
        "Math.min(...[...document.querySelectorAll('.tall tbody td:nth-child(2)')].map(c => c.dataset.value))"
    )
    assert browser.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)
