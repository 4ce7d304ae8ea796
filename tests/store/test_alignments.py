"""Phone times: every format is read, made equal, found for its recording, and a wrong line is named."""

import logging
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadAlignment, BadSetting, SpeechVQError, WouldOverwrite
from speechvq.store.alignments import (
    Folding,
    Interval,
    align_entries,
    phones_at,
    read_alignment,
    write_textgrid,
)
from speechvq.store.folding import FOLDED
from speechvq.store.manifest import Entry
from speechvq.store.phone_files import format_of
from speechvq.store.textgrid import read_textgrid

SPOKEN = (Interval("SIL", 0.0, 0.25), Interval("AH0", 0.25, 0.5), Interval("t", 0.5, 1.0))
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "say ""hi"" ! 3 <exists>"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1
        points: size = 1
        points [1]:
            number = 0.3
            mark = "x"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = "SIL"
        intervals [2]:
            xmin = 0.25
            xmax = 5e-1
            text = "AH0"
        intervals [3]:
            xmin = 0.5
            xmax = 1
            text = "t"
"""
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
1
<exists>
1
"IntervalTier" "phones" 0 1 3
0 0.25 "SIL" ! a remark
0.25 0.5 "AH0"
0.5 1 "t"
"""
BUCKEYE = """signal s0101a
type 0
comment created using xlabel
separator ;
nfields 1
#
    0.250000  122 SIL
    0.500000  122 AH0; *
    0.400000  122 oops
    1.000000  122 t
"""
TIMIT = """aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv
    ih ix iy jh k kcl l m n ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh"""
FILES = {
    "long.TextGrid": LONG,
    "short.TextGrid": SHORT,
    "grid": LONG,
    "x.PHN": "0 4000 SIL\n4000 8000 AH0\n8000 16000 t\n",
    "buckeye.phones": BUCKEYE,
    "ours.phones": "# what was said\n0.0 0.25 SIL\n\n.25 5e-1 AH0\n0.5000 1 t\n",
    "one.ctm": ";; made by hand\nu 1 0.00 0.25 SIL 0.9\nu 1 0.50 0.50 t\nu 1 0.25 0.25 AH0\n",
    "ctm.txt": "u A 0.00 0.25 SIL\nu A 0.25 0.25 AH0\nu A 0.50 0.50 t\n",
}


def put(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def recording(name: str = "u", **changes: object) -> Entry:
    entry = Entry(f"{name}.wav", 0.0, 1.0, "anna", name, "train")
    return replace(entry, **changes)  # pyright: ignore[reportArgumentType]


def near(intervals: tuple[Interval, ...], expected: tuple[Interval, ...]) -> bool:
    close = lambda a, b: abs(a.start - b.start) < 1e-9 and abs(a.end - b.end) < 1e-9  # noqa: E731
    pairs = zip(intervals, expected, strict=True)
    return all(a.label == b.label and close(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", FILES)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    assert near(read_alignment(put(tmp_path / name, FILES[name])), SPOKEN)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_textgrids_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    content = LONG.replace('"t"', '"ʃ"').replace("\n", "\r\n")
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = put(tmp_path / "a.textgrid", mark + content, encoding)
    assert [i.label for i in read_alignment(path)] == ["SIL", "AH0", "ʃ"]


def test_quotes_and_signs_inside_labels_are_labels(tmp_path: Path) -> None:
    path = put(tmp_path / "a.TextGrid", LONG)
    assert read_alignment(path, tier="words") == (Interval('say "hi" ! 3 <exists>', 0.0, 1.0),)
    with pytest.raises(BadAlignment, match="no tier.*'clicks'.*'words', 'phones'"):
        read_alignment(path, tier="clicks")


def test_the_tier_with_phones_is_found_or_asked_for(tmp_path: Path) -> None:
    of_speaker = put(tmp_path / "a.TextGrid", LONG.replace('"phones"', '"anna - phones"'))
    assert read_alignment(of_speaker) == SPOKEN
    with pytest.raises(BadAlignment, match="name one of its tiers: 'words', 'stuff'"):
        read_alignment(put(tmp_path / "b.TextGrid", LONG.replace('"phones"', '"stuff"')))


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Interval, ...]:
    """Intervals with gaps and any labels but empty ones, which a TextGrid uses for gaps."""
    times = sorted(draw(st.sets(st.floats(0, 9).map(lambda t: round(t, 4)), max_size=12)))
    label = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=5)
    labelled = [(draw(label), a, b) for a, b in zip(times, times[1:], strict=False)]
    return tuple(Interval(*one) for one in labelled if draw(st.integers(0, 3)))


@settings(max_examples=25, deadline=None)
@given(tiers(), tiers())
def test_textgrids_come_back(
    tmp_path_factory: pytest.TempPathFactory, one: tuple[Interval, ...], two: tuple[Interval, ...]
) -> None:
    path = tmp_path_factory.mktemp("grid") / "a.TextGrid"
    write_textgrid(path, {'a "tier"': one, "phones": two}, duration=9.5)
    whole = read_textgrid(path)
    for name, written in (('a "tier"', one), ("phones", two)):
        assert tuple(i for i in whole[name] if i.label) == written
        assert whole[name][0].start == 0
        assert whole[name][-1].end == 9.5
        assert all(a.end == b.start for a, b in zip(whole[name], whole[name][1:], strict=False))


def test_textgrids_are_read_by_praat(tmp_path: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    write_textgrid(
        tmp_path / "a.TextGrid", {"phones": SPOKEN, 'say "hi"': [Interval("ʃ", 0.1, 0.2)]}, duration=1
    )
    grid = parselmouth.read(str(tmp_path / "a.TextGrid"))
    call = parselmouth.praat.call
    assert [call(grid, "Get label of interval", 1, n) for n in (1, 2, 3)] == ["SIL", "AH0", "t"]
    assert [call(grid, "Get label of interval", 2, n) for n in (1, 2, 3)] == ["", "ʃ", ""]
    for short, save in ((False, "Save as text file"), (True, "Save as short text file")):
        call(grid, f"{save}...", str(tmp_path / f"{short}.TextGrid"))
        assert read_alignment(tmp_path / f"{short}.TextGrid") == SPOKEN


def test_what_cannot_be_a_textgrid_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    for wrong in (
        [Interval("a", 0, 2)],
        [Interval("a", 0.5, 0.5)],
        [Interval("a", 0.2, 0.6), Interval("b", 0.5, 1)],
    ):
        with pytest.raises(BadSetting, match="'phones'"):
            write_textgrid(path, {"phones": wrong}, duration=1)
    with pytest.raises(BadSetting, match="above 0"):
        write_textgrid(path, {}, duration=0)
    assert not list(tmp_path.iterdir())
    write_textgrid(path, {}, duration=1)
    with pytest.raises(WouldOverwrite):
        write_textgrid(path, {}, duration=1, force=False)


def test_timit_counts_samples(tmp_path: Path) -> None:
    path = put(tmp_path / "x.phn", FILES["x.PHN"])
    assert read_alignment(path, sample_rate=8000)[-1] == Interval("t", 1.0, 2.0)
    with pytest.raises(BadSetting, match="sample rate"):
        read_alignment(path, sample_rate=0)


def test_buckeye_lines_that_go_back_are_left_out_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read_alignment(put(tmp_path / "s.phones", BUCKEYE))
    assert "line 9 goes back in time" in caplog.text


def test_cpc_frames_become_runs(tmp_path: Path) -> None:
    path = put(tmp_path / "converted_aligned_phones.txt", "103-1240-0000 7 7 7 12 12 0\n103-1240-0001 3\n")
    found = read_alignment(path, utterance="103-1240-0000")
    assert near(found, (Interval("7", 0, 0.03), Interval("12", 0.03, 0.05), Interval("0", 0.05, 0.06)))
    with pytest.raises(BadAlignment, match="2 recordings; name one"):
        read_alignment(path)
    with pytest.raises(BadAlignment, match="no utterance 'x'"):
        read_alignment(path, utterance="x")


def test_the_format_of_a_long_line_is_known(tmp_path: Path) -> None:
    assert format_of(put(tmp_path / "a.txt", "one" + " 17" * 9000 + "\n")) == "cpc"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.PHN",
            "0 4000 a\n4000 zero b\n",
            "a.PHN, line 2: '4000 zero b' should be 'start end phone' in samp",
        ),
        ("a.PHN", "0.0 0.5 a\n", "line 1.*whole samples"),
        ("a.PHN", "", "no phone times"),
        ("a.phones", "0 0.5 a\n0.4 0.9\n", "line 2.*'start end phone' in seconds"),
        ("a.phones", "0 0.5 a\n0.4 0.9 b\n", "line 2.*starts before.*ends"),
        ("a.phones", "0 0.5 a\n0.9 0.8 b\n", "line 2.*ends before it starts"),
        ("a.phones", "-1 0.5 a\n", "line 1.*time that cannot be"),
        ("a.phones", "0 nan a\n", "line 1.*time that cannot be"),
        ("a.phones", "#\n zero 1 a\n", "line 2.*end colour label"),
        ("a.ctm", "u 1 0.0 a\n", "line 1.*utterance channel start duration label"),
        ("a.txt", "u 1 2 3\nv 1 b\n", "line 2: 'b' should be whole numbers"),
        ("a.txt", "once upon a time\n", "none of the known formats"),
        ("a.txt", "", "none of the known formats"),
        ("a.TextGrid", "hello", "a.TextGrid ends before"),
        ("a.TextGrid", LONG[:-20], "ends before the end of an interval|ends before the label"),
        ("a.TextGrid", LONG.replace("xmax = 5e-1", "xmax = soon"), "line 41: the end of an interval"),
        ("a.TextGrid", LONG.replace("xmax = 5e-1", "xmax = 0.2"), "line 3.*ends before it starts"),
        ("a.TextGrid", LONG.replace("size = 3", "size = 3.5", 1), "line 7: the number of tiers cannot be"),
        ("a.TextGrid", LONG.replace('"TextGrid"', '"Sound"'), "does not say"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    with pytest.raises(BadAlignment, match=sentence):
        read_alignment(put(tmp_path / name, content))


def test_files_that_are_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_bytes(b"ooBinaryFile\x08TextGrid\xff\xfe\x00")
    (tmp_path / "a.phones").write_bytes(b"0 1 a\n1 2 \xff\xfe\n")
    for path in (tmp_path / "a.TextGrid", tmp_path / "a.phones", tmp_path / "none.phn", tmp_path):
        with pytest.raises(BadAlignment, match=str(path)):
            read_alignment(path)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_files_end_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = FILES[name]
    at = data.draw(st.integers(0, len(content)))
    junk = data.draw(st.text(string.printable, max_size=6))
    path = put(tmp_path_factory.mktemp("bad") / name, content[:at] + junk + content[at + len(junk) :])
    try:
        found = read_alignment(path)
    except SpeechVQError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert all(a.end <= b.start + 1e-9 for a, b in zip(found, found[1:], strict=False))


@settings(max_examples=40, deadline=None)
@given(tiers(), st.floats(1, 200), st.integers(0, 60))
def test_phones_at_the_centres(intervals: tuple[Interval, ...], rate: float, frames: int) -> None:
    slow = []
    for i in range(frames):
        centre = (i + 0.5) / rate
        slow.append(next((x.label for x in intervals if x.start <= centre < x.end), None))
    assert phones_at(intervals, rate, frames) == slow


def test_phones_at_wrong_settings() -> None:
    for rate, frames in ((0, 1), (float("nan"), 1), (50, -1)):
        with pytest.raises(BadSetting, match="rate above 0"):
            phones_at(SPOKEN, rate, frames)


def test_folding() -> None:
    def after(folding: Folding, *labels: str) -> list[str]:
        intervals = [Interval(label, at, at + 1) for at, label in enumerate(labels)]
        return [i.label for i in folding.fold(intervals)]

    assert after(Folding(), "AH0", "ah1", "ER2", "Z", "t", "S1", "1", "spn") == [
        "AH", "ah", "ER", "Z", "t", "S1", "1", "spn",
    ]  # fmt: skip
    assert after(Folding(strip_stress=False), "AH0", "SP") == ["AH0", "SIL"]
    assert after(Folding(), "h#", "", "pau", "b", "sil", "tcl") == ["SIL", "b", "SIL", "tcl"]
    assert after(Folding(silences=("Noise",)), "noise", "sil") == ["SIL", "sil"]
    assert after(Folding(timit39=True), "h#", "tcl", "t", "q", "AX-H", "ao1", "ZH", "spn") == [
        "SIL", "t", "ah", "aa", "sh", "spn",
    ]  # fmt: skip
    with pytest.raises(BadSetting, match="several labels"):
        Folding(silences="sil")  # pyright: ignore[reportArgumentType]


def test_folding_of_timit() -> None:
    timit = TIMIT.split()
    folding = Folding(timit39=True)
    classes = {folding.label(label) for label in timit}
    assert len(timit) == 61
    assert len(classes - {None}) == 39
    assert set(FOLDED) | {"q", "h#", "pau", "epi"} >= set(timit)


def test_entries_get_their_part(tmp_path: Path) -> None:
    grid = str(put(tmp_path / "a.TextGrid", LONG))
    entries = [
        recording(alignment=grid),
        recording(),
        recording(alignment=grid, start=0.4, duration=0.2),
        recording(alignment=grid, start=0.1, duration=0.2, processing={"cut": 0.5}),
        recording(alignment=grid, start=7.0),
    ]
    found = align_entries(entries)
    assert list(found) == [0, 2, 3]
    assert near(found[0], tuple(replace(i, label=i.label.strip("0")) for i in SPOKEN))
    assert near(found[2], (Interval("AH", 0, 0.1), Interval("t", 0.1, 0.2)))
    assert near(found[3], (Interval("t", 0, 0.2),))
    assert align_entries([recording()]) == {}
    assert align_entries([]) == {}


def test_entries_of_one_file_about_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path / "a.ctm", FILES["one.ctm"] + "anna-v 1 0.0 0.5 x\n")
    entries = [recording("en/u"), recording("v"), recording("w")]
    with caplog.at_level(logging.WARNING):
        found = align_entries(entries, path)
    assert [[i.label for i in found[at]] for at in found] == [["SIL", "AH", "t"], ["x"]]
    assert "1 of 3 recordings have no phone times" in caplog.text
    assert align_entries([recording("v", alignment=str(path))])[0] == (Interval("x", 0.0, 0.5),)
    with pytest.raises(BadAlignment, match="should call 'other'"):
        align_entries([recording("other")], path)


def test_entries_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "anna" / "U.TextGrid", LONG)
    put(tmp_path / "anna" / "u.phones", "0 1 wrong")
    put(tmp_path / "ben" / "u.TextGrid", LONG.replace("AH0", "b"))
    put(tmp_path / "v.PHN", FILES["x.PHN"])
    entries = [recording(), recording(speaker="ben"), recording("v", path="v.WAV.wav"), recording("w")]
    found = align_entries(entries, tmp_path)
    assert [found[at][1].label for at in found] == ["AH", "b", "AH"]
    with pytest.raises(BadAlignment, match="could both be the phones of u.wav"):
        align_entries([recording(speaker="carl")], tmp_path)
    with pytest.raises(BadAlignment, match="no file or folder"):
        align_entries(entries, tmp_path / "none")
    with pytest.raises(BadAlignment, match="one recording, not of 4"):
        align_entries(entries, tmp_path / "v.PHN")
    assert near(align_entries([recording("z")], tmp_path / "v.PHN")[0][2:], SPOKEN[2:])
