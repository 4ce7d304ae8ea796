"""The layouts of ZeroSpeech 2019 and 2021: written, read back, measured, and checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as shaped

from speechvq.errors import BadCodes, BadSetting
from speechvq.score.streams import Stream
from speechvq.score.submission import Description, check_2019, check_2021, write_meta, write_metadata
from speechvq.score.zerospeech import (
    folder_bitrate,
    one_hot,
    read_bitrate_list,
    read_features,
    read_folder,
    write_bitrate_list,
    write_features,
    write_folder,
)  # fmt: skip

US = Description("us", "here", "units", gpu_budget=2)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=40, deadline=None)
@given(shaped.arrays(np.float32, shaped.array_shapes(min_dims=2, max_dims=2), elements=FLOATS))
def test_vectors_are_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, features: np.ndarray):
    folder = tmp_path_factory.mktemp("features")
    for suffix in (".txt", ".npy"):
        write_features(folder / f"x{suffix}", features)
        found = read_features(folder / f"x{suffix}")
        assert found.shape == features.shape
        assert (found.astype(np.float32) == features).all()


def test_codes_and_one_hot_vectors_are_read_back(tmp_path: Path):
    codes = np.random.randint(0, 7, (20, 2))
    stream = Stream("s/u", "s", codes, 50.0, 0.4, codebook_size=7)
    vectors = one_hot(stream)
    assert vectors.shape == (20, 14)
    assert (np.stack([vectors[:, :7].argmax(1), vectors[:, 7:].argmax(1)], 1) == codes).all()
    assert (vectors.sum(1) == 2).all()
    write_folder(tmp_path, {"s/u": vectors, "ids": codes[:, 0]})
    frames = read_folder(tmp_path, 50.0)
    assert sorted(frames.by_file) == ["ids", "s/u"]
    assert (frames.by_file["s/u"] == vectors).all()
    assert frames.by_file["ids"].tolist() == codes[:, :1].tolist()
    assert frames.by_file["ids"].dtype == np.int64
    assert (tmp_path / "ids.txt").read_text().split("\n")[0] == str(codes[0, 0])
    with pytest.raises(BadSetting, match="need the codebook size of s/u"):
        one_hot(replace(stream, codebook_size=None))


def test_the_bitrate_is_that_of_the_challenge(tmp_path: Path):
    ids = np.repeat([0, 1, 2], [50, 25, 25])
    np.random.shuffle(ids)
    write_folder(tmp_path, {"a": ids[:40], "b": ids[40:]})
    write_bitrate_list(tmp_path / "list.txt", {"a.txt": 0.75, "b.txt": 1.25, "missing.txt": 9.0})
    seconds = read_bitrate_list(tmp_path / "list.txt")
    assert folder_bitrate(tmp_path, seconds) == pytest.approx(75)
    write_folder(tmp_path, {"a": np.eye(3)[ids[:40]], "b": np.eye(3)[ids[40:]]})
    assert folder_bitrate(tmp_path, seconds) == pytest.approx(75)
    with pytest.raises(BadCodes, match="not one of the 1 files"):
        folder_bitrate(tmp_path, {"other.txt": 1.0})
    assert (tmp_path / "list.txt").read_text().startswith("a.txt 0.750000\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a.txt\n", "line 1: 'a.txt' is not"),
        ("a.txt 1\nb.txt -1\n", "line 2"),
        ("a 1 2\n", "line 1"),
    ],
)
def test_other_lists_are_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(BadCodes, match=message):
        read_bitrate_list(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "is empty"),
        ("1 2\n3\n", "line 2: 1 numbers, but line 1 has 2"),
        ("1 2\n3 x\n", "line 2: could not convert string to float: 'x'"),
        ("1\n\n2\n", "line 2: every frame must have finite numbers, not ''"),
        ("1\nnan\n", "line 2: every frame must have finite"),
    ],
)
def test_other_features_are_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(BadCodes, match=message):
        read_features(path)


def test_other_tables_are_refused(tmp_path: Path):
    path = tmp_path / "x.npy"
    with pytest.raises(BadCodes, match="is missing"):
        read_features(path)
    path.write_bytes(b"\x93NUMPY but no more")
    with pytest.raises(BadCodes, match="not a table of numbers as numpy saves it"):
        read_features(path)
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadCodes, match="not a table"):
        read_features(path)
    np.save(path, np.zeros(5))
    with pytest.raises(BadCodes, match=r"must be a table \(frames, numbers\), not \(5,\)"):
        read_features(path)
    np.save(path, np.full((2, 2), np.inf))
    with pytest.raises(BadCodes, match="finite"):
        read_features(path)
    for name, rows in (
        ("x.pt", np.zeros((1, 1))),
        ("x.txt", np.full((1, 1), np.nan)),
        ("x.txt", np.zeros((0, 2))),
    ):
        with pytest.raises(BadSetting, match="features"):
            write_features(tmp_path / name, rows)
    with pytest.raises(BadSetting, match="leads out of the folder"):
        write_folder(tmp_path, {"../x": np.zeros((1, 1))})
    with pytest.raises(BadCodes, match="there are no .pt files"):
        read_folder(tmp_path, 50.0, suffix=".pt")


@pytest.fixture
def of_2019(tmp_path: Path) -> Path:
    for part in ("test", "auxiliary_embedding1"):
        write_folder(tmp_path / "english" / part, {n: np.random.randn(4, 3) for n in ("S1_1", "S1_2")})
    write_metadata(tmp_path, US, ["before quantization"])
    return tmp_path


def test_a_good_submission_of_2019_has_no_fault(of_2019: Path):
    assert check_2019(of_2019, required=["S1_1.txt", "S1_2.txt"]) == []
    metadata = yaml.safe_load((of_2019 / "metadata.yaml").read_text())
    assert metadata["abx distance"] == "dtw_cosine"
    assert metadata["using external data"] is False
    with pytest.raises(BadSetting, match="2019 has the distances"):
        write_metadata(of_2019, replace(US, distance="cosine"))


def test_all_faults_of_2019_are_found_at_once(of_2019: Path):
    test = of_2019 / "english" / "test"
    (test / "S1_2.txt").write_text("1 2\n")
    (test / "S1_3.txt").write_text("one\n")
    (of_2019 / "english" / "auxiliary_embedding1").rename(of_2019 / "english" / "auxiliary_embedding2")
    metadata = yaml.safe_load((of_2019 / "metadata.yaml").read_text())
    metadata |= {"open source": True, "abx distance": "cosine", "author": " ", "using external data": "no"}
    del metadata["affiliation"]
    (of_2019 / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    found = "\n".join(check_2019(of_2019, ["english", "surprise"], required=["S1_4.txt"]))
    for words in (
        "'affiliation' is missing", "'author' is empty",
        "'using external data' must be true or false, not 'no'",
        "must be one of dtw_cosine, dtw_kl, levenshtein, not 'cosine'", "'auxiliary2 description' is missing",
        "says open source, but the folder", "no auxiliary_embedding1", "surprise/test is missing",
        "S1_4.txt is missing", "S1_2.txt has 2 numbers a frame, but S1_1.txt has 3",
        "S1_3.txt, line 1: could not",
    ):  # fmt: skip
        assert words in found


@pytest.mark.parametrize("suffix", [".txt", ".npy"])
def test_a_submission_of_2021(tmp_path: Path, suffix: str):
    names = {"dev-clean": ["84-1-0", "84-1-1"], "dev-other": ["116-2-0"]}
    for subset, files in names.items():
        write_folder(tmp_path / "phonetic" / subset, {n: np.random.randn(5, 4) for n in files}, suffix=suffix)
    write_meta(tmp_path, US, frame_rate=50.0)
    assert check_2021(tmp_path, names, suffix=suffix) == []
    meta = yaml.safe_load((tmp_path / "meta.yaml").read_text())
    assert meta["parameters"]["phonetic"] == {"metric": "cosine", "frame_shift": 0.02}
    with pytest.raises(BadSetting, match="2021 has the metrics"):
        write_meta(tmp_path, replace(US, distance="dtw_kl"), frame_rate=50.0)

    meta["parameters"]["phonetic"] = {"metric": "angle", "frame_shift": 20.0}
    meta |= {"gpu_budget": "much", "extra": 1}
    (tmp_path / "meta.yaml").write_text(yaml.safe_dump(meta))
    place = tmp_path / "phonetic" / "dev-clean"
    (place / f"84-1-1{suffix}").rename(place / f"84-1-2{suffix}")
    write_features(place / f"84-1-0{suffix}", np.zeros((1, 4)))
    found = "\n".join(check_2021(tmp_path, {**names, "test-clean": ["x"]}, suffix=suffix))
    for words in (
        "not 'angle'", "in seconds, such as 0.02, not 20.0", "'gpu_budget' must be a number with a point",
        "'extra' is not asked for", f"84-1-1{suffix} is missing", f"84-1-2{suffix} belongs to no recording",
        f"84-1-0{suffix} has 1 frame, and at least 2", "test-clean is missing",
    ):  # fmt: skip
        assert words in found


def test_descriptions_that_are_none(tmp_path: Path):
    assert check_2021(tmp_path, {}) == [f"{tmp_path / 'meta.yaml'} is missing"]
    (tmp_path / "meta.yaml").write_text("a: [1\n")
    assert "cannot be read as YAML" in check_2021(tmp_path, {})[0]
    (tmp_path / "meta.yaml").write_text("just words\n")
    assert "must have lines `name: value`" in check_2021(tmp_path, {})[0]
    (tmp_path / "meta.yaml").write_text("author: us\n")
    assert "must have a section 'phonetic'" in check_2021(tmp_path, {})[-1]
