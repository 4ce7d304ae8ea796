"""Item files: written and read back, made from alignments, refused in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastabx.dataset import read_labels

from speechvq.errors import BadAlignment, BadSetting
from speechvq.score.items import HEADER, Item, make_items, read_items, stream_items, write_items, written
from speechvq.score.streams import Stream
from speechvq.store.alignments import Interval

HEAD = " ".join(HEADER) + "\n"


def phones(*words: str, step: float = 0.1) -> tuple[Interval, ...]:
    return tuple(Interval(word, round(i * step, 6), round((i + 1) * step, 6)) for i, word in enumerate(words))


def test_written_items_are_read_back(tmp_path: Path):
    draw = np.random.default_rng()
    items = [
        Item(f"dev/{i}", float(a), float(a + b), "IH", "L", "NG", f"s{i % 3}")
        for i, (a, b) in enumerate(draw.uniform(0.001, 9, (50, 2)))
    ]
    path = tmp_path / "made.item"
    write_items(path, items)
    assert read_items(path) == items
    labels = read_labels(path, "#file", "onset", "offset")  # fastabx reads the same
    assert [float(x) for x in labels["onset"]] == pytest.approx([i.onset for i in items], abs=1e-12)
    assert labels["#phone"].to_list() == [i.phone for i in items]
    assert written(1e-05) == "0.00001"


def test_the_published_formats_are_read(tmp_path: Path):
    path = tmp_path / "dev-clean.item"
    path.write_text(HEAD + "6295-244435-0009 0.2925 0.4725 IH L NG 6295\n\n")
    assert read_items(path) == [Item("6295-244435-0009", 0.2925, 0.4725, "IH", "L", "NG", "6295")]
    path.write_bytes(("\ufeff" + HEAD.replace(" ", "\t") + "0  1.0\t2.5 a b c s1\r\n").encode())  # 2017
    assert read_items(path) == [Item("0", 1.0, 2.5, "a", "b", "c", "s1")]
    path.write_text("#file onset offset #phone context talker\nx 0 1 a b+c s\n")  # 2015
    assert read_items(path) == [Item("x", 0.0, 1.0, "a", "b+c", "-", "s")]
    path.write_text("speaker #phone prev-phone next-phone onset offset #file\ns a b c 0 1 x\n")
    assert read_items(path) == [Item("x", 0.0, 1.0, "a", "b", "c", "s")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", "compiled .HDF5.; give the .item file"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"", "its first line must name #file, onset"),
        (b"#file onset offset #phone speaker\n", "must name prev-phone, next-phone"),
        (HEAD.encode(), "no items"),
        ((HEAD + "x 0 1 a b c\n").encode(), "line 2: 6 values where the header has 7"),
        ((HEAD + "x 0 1 a b c s\nx 0 one a b c s\n").encode(), "line 3: the offset 'one' is not a number"),
        ((HEAD + "x nan 1 a b c s\n").encode(), "line 2: the onset 'nan' is not a number"),
        ((HEAD + "x 2 1 a b c s\n").encode(), "must end after it starts, not last from 2.0 to 1.0 s"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "bad.item"
    path.write_bytes(content)
    with pytest.raises(BadAlignment, match=message) as caught:
        read_items(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_an_impossible_name(tmp_path: Path):
    with pytest.raises(BadAlignment, match="there is no item file"):
        read_items(tmp_path / "none.item")
    with pytest.raises(BadSetting, match="cannot hold the name 'a b'"):
        write_items(tmp_path / "x.item", [Item("f", 0, 1, "a b", "c", "d", "s")])
    assert not (tmp_path / "x.item").exists()


def test_phonemes_and_triphones_of_an_alignment():
    spoken = {"u": phones("pau", "k", "ae", "t", "SIL", "ah")}
    triphones = make_items(spoken, {"u": "slt"})
    assert triphones == [Item("u", 0.1, 0.4, "ae", "k", "t", "slt")]
    found = make_items(spoken, {"u": "slt"}, "phoneme")
    assert [(i.phone, i.previous, i.following) for i in found] == [
        ("k", "SIL", "ae"), ("ae", "k", "t"), ("t", "ae", "SIL"), ("ah", "SIL", "SIL"),
    ]  # fmt: skip
    assert [(i.onset, i.offset) for i in found] == [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.5, 0.6)]


def test_a_gap_parts_neighbours_and_short_phones_are_left_out():
    a, b, c = phones("a", "b", "c")
    late = replace(c, start=0.21)
    assert make_items({"u": (a, b, late)}, {"u": "s"}) == []
    assert len(make_items({"u": (a, b, c)}, {"u": "s"})) == 1
    assert make_items({"u": (a, b, c)}, {"u": "s"}, shortest=0.31) == []
    brief = (a, replace(b, end=0.13), replace(c, start=0.13))
    assert [i.phone for i in make_items({"u": brief}, {"u": "s"}, "phoneme")] == ["a", "c"]
    assert [i.phone for i in make_items({"u": brief}, {"u": "s"}, "phoneme", shortest=0.03)] == [
        "a",
        "b",
        "c",
    ]


def test_items_equal_a_walk_over_windows():
    draw = np.random.default_rng()
    words = draw.choice(["SIL", "a", "b", "c"], 200).tolist()
    spoken = phones(*words, step=0.05)
    expected = [
        Item("u", x.start, z.end, y.label, x.label, z.label, "s")
        for x, y, z in zip(spoken, spoken[1:], spoken[2:], strict=False)
        if "SIL" not in (x.label, y.label, z.label)
    ]
    assert make_items({"u": spoken}, {"u": "s"}) == expected


def test_items_of_streams():
    codes = np.zeros((30, 1), dtype=np.int64)
    streams = [
        Stream("u", "slt", codes, 50.0, 0.6, phones=phones("k", "ae", "t")),
        Stream("v", "x", codes, 50, 1),
    ]
    assert stream_items(streams) == [Item("u", 0.0, 0.3, "ae", "k", "t", "slt")]
    with pytest.raises(BadSetting, match="not 'word'"):
        make_items({}, {}, "word")  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match="speaker of u is not given"):
        make_items({"u": phones("a")}, {})
