"""Published sets read back value for value, folders of photos, and a game that can be played again."""

import gzip
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from speechvq.cli import main
from speechvq.errors import BadSetting, MissingExtra, UnknownName, WouldOverwrite
from speechvq.image.data import open_corpus
from speechvq.image.prepare import Wanted, cifar10, fashion_mnist, mnist, pictures, vizdoom
from speechvq.image.prepare.doom import THINGS, Game, play, things
from speechvq.store.arrays import read_arrays

CLASSES = 10


def write_idx(path: Path, array: np.ndarray) -> None:
    """The slow way: byte by byte."""
    data = bytes([0, 0, 8, array.ndim])
    for length in array.shape:
        data += bytes([length >> 24, length >> 16 & 255, length >> 8 & 255, length & 255])
    data += bytes(int(v) for v in array.reshape(-1))
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(root: Path, *, end: str = "", dot: str = "-") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    root.mkdir(parents=True, exist_ok=True)
    draw, made = np.random.default_rng(1), {}
    for prefix, count in (("train", 60), ("t10k", 7)):
        images = draw.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = draw.integers(0, CLASSES, count, dtype=np.uint8)
        write_idx(root / f"{prefix}-images{dot}idx3-ubyte{end}", images)
        write_idx(root / f"{prefix}-labels{dot}idx1-ubyte{end}", labels)
        made[prefix] = images, labels
    return made


@pytest.mark.parametrize(("end", "dot"), [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
def test_idx_files_come_back_and_the_test_stays_the_test(tmp_path, end, dot):
    made = write_mnist(tmp_path / "in" / "raw", end=end, dot=dot)
    store = mnist(tmp_path / "in", tmp_path / "out")
    assert store.names["label"] == tuple("0123456789")
    parts = {split: store.arrays(split) for split in store.counts}
    assert np.array_equal(parts["test"]["picture"][:, 0], made["t10k"][0])
    assert np.array_equal(parts["test"]["label"], made["t10k"][1])
    assert store.counts["train"] + store.counts["valid"] == 60
    assert 1 <= store.counts["valid"] <= 20
    together = {
        (p.tobytes(), int(n)) for s in ("train", "valid") for p, n in zip(*parts[s].values(), strict=True)
    }
    assert together == {(p.tobytes(), int(n)) for p, n in zip(*made["train"], strict=True)}
    again = mnist(tmp_path / "in", tmp_path / "again")
    assert np.array_equal(again.arrays("valid")["label"], parts["valid"]["label"])


def test_fashion_mnist_out_of_a_debian_package(tmp_path):
    """A package as deb(5) has it: an archive of `ar` with a compressed tar file in it."""
    made = write_mnist(tmp_path / "tree/usr/share/datasets/fashion-mnist", end=".gz")
    subprocess.run(
        ["tar", "cJf", str(tmp_path / "data.tar.xz"), "-C", str(tmp_path / "tree"), "."], check=True
    )
    data = (tmp_path / "data.tar.xz").read_bytes()
    members = [(b"debian-binary", b"2.0\n"), (b"data.tar.xz", data)]
    package = b"!<arch>\n"
    for name, content in members:
        header = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        package += (
            header + str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)
        )
    (tmp_path / "dataset.deb").write_bytes(package)
    store = fashion_mnist(tmp_path / "dataset.deb", tmp_path / "out")
    assert np.array_equal(store.arrays("test")["picture"][:, 0], made["t10k"][0])
    assert store.names["label"][-1] == "Ankle boot"


def test_cifar_records(tmp_path):
    draw, made = np.random.default_rng(2), {}
    (tmp_path / "in").mkdir()
    for name, count in (("data_batch_1", 11), ("data_batch_2", 9), ("test_batch", 4)):
        labels = draw.integers(0, CLASSES, count, dtype=np.uint8)
        planes = draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        made[name] = planes, labels
        records = b"".join(bytes([n]) + p.tobytes() for p, n in zip(planes, labels, strict=True))
        (tmp_path / f"in/{name}.bin").write_bytes(records)
    store = cifar10(tmp_path / "in", tmp_path / "out", valid=0.0)
    assert store.counts == {"train": 20, "test": 4}
    train = store.arrays("train")
    assert np.array_equal(train["picture"][11:], made["data_batch_2"][0])
    assert np.array_equal(train["label"][:11], made["data_batch_1"][1])
    assert store.names["label"][3] == "cat"
    (tmp_path / "in/test_batch.bin").write_bytes(records[:-1])
    with pytest.raises(BadSetting, match="truncated"):
        cifar10(tmp_path / "in", tmp_path / "broken")
    assert not (tmp_path / "broken").exists()


def test_damaged_idx_files_are_sentences(tmp_path):
    for hurt, words in (
        (b"", "not an IDX"),
        (b"\0\0\x0d\1" + bytes(8), "not an IDX"),
        (b"\0\0\x08\3" + bytes(5), "not an IDX"),
        (b"\0\0\x08\1\0\0\0\x3c" + bytes(59), "truncated"),
        (b"\0\0\x08\1\0\0\0\x3c" + bytes([99] * 60), "label is 99"),
        (b"\0\0\x08\1\0\0\0\3" + bytes(3), "do not belong"),
    ):
        write_mnist(tmp_path / "in")
        (tmp_path / "in/train-labels-idx1-ubyte").write_bytes(hurt)
        with pytest.raises(BadSetting, match=words):
            mnist(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "in/t10k-labels-idx1-ubyte").unlink()
    write_idx(tmp_path / "in/train-labels-idx1-ubyte", np.zeros(60, np.uint8))
    with pytest.raises(BadSetting, match="t10k-labels"):
        mnist(tmp_path / "in", tmp_path / "out")


def test_a_folder_is_cut_once_and_reads_as_the_folder_does(tmp_path, caplog):
    for i in range(24):
        path = tmp_path / "photos" / f"c{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
    whole = path.read_bytes()
    (tmp_path / "photos/c1/cut.png").write_bytes(whole[:-80])
    (tmp_path / "photos/c1/text.png").write_text("text")
    store = pictures(tmp_path / "photos", tmp_path / "out", size=(16, 12), valid=0.2)
    assert sum(store.counts.values()) == 24
    told = " ".join(record.message for record in caplog.records)
    assert "cut.png is truncated" in told
    assert "text.png is not a picture" in told
    values = {"size": (16, 12), "valid": 0.2}
    for split in ("train", "valid"):
        one = open_corpus({"root": str(tmp_path / "photos"), **values}, rate=1).split(split)
        two = open_corpus({"root": str(tmp_path / "out")}, rate=1).split(split)
        assert len(one) == len(two) == store.counts[split]
        for i in range(len(one)):
            assert np.array_equal(one[0, i]["picture"], two[0, i]["picture"])
            assert one[0, i]["label"] == two[0, i]["label"]
    with pytest.raises(WouldOverwrite):
        pictures(tmp_path / "photos", tmp_path / "out", size=(16, 12))
    assert store.names["label"] == ("c0", "c1", "c2")
    assert not list(tmp_path.glob("out/tmp*"))


def test_things_are_named_by_the_engines_kinds():
    class Label:
        """What the engine says of a thing; here only what we ask for."""

        def __init__(self, value: int, category: str) -> None:
            self.value, self.object_category = value, category

    buffer = np.array([[0, 1, 24], [255, 24, 9]], np.uint8)
    labels = [Label(24, "Monster"), Label(255, "Self"), Label(9, "Key")]
    names = np.array(THINGS)[things(buffer, labels)]
    assert names.tolist() == [["wall", "floor", "monster"], ["other", "monster", "key"]]


def test_a_game_is_played_again_alike_and_no_game_is_in_two_splits(tmp_path):
    levels = ("my_way_home", "deathmatch")
    wanted = Wanted(36, (24, 32), levels, valid=0.1, test=0.0, seed=3)
    store = vizdoom(tmp_path / "a", wanted)
    assert store.counts == {"train": 32, "valid": 4}
    assert store.names["label"] == levels
    parts = {split: store.arrays(split) for split in store.counts}
    train = parts["train"]
    assert train["picture"].shape == (32, 3, 24, 32)
    assert train["depth"].shape == (32, 1, 24, 32)
    assert train["segmentation"].shape == (32, 24, 32)
    assert set(train["label"]) == {0, 1}
    for name in ("segmentation", "action"):
        assert train[name].max() < len(store.names[name])
    assert {0, 1} <= set(np.unique(train["segmentation"]))
    assert len({picture.tobytes() for picture in train["picture"]}) > 20
    games = [set(part["episode"].tolist()) for part in parts.values()]
    assert not games[0] & games[1]
    assert set(parts["valid"]["label"]) == {0, 1}
    again = vizdoom(tmp_path / "b", wanted)
    other = vizdoom(tmp_path / "c", Wanted(4, (24, 32), levels[:1], valid=0.0, test=0.0, seed=4))
    for name, array in train.items():
        assert np.array_equal(array, again.arrays("train")[name])
    assert not np.array_equal(train["picture"][:4], other.arrays("train")["picture"])


def test_sound_is_heard_or_said_to_be_missing(tmp_path):
    wanted = Wanted(12, (24, 32), ("basic",), sound=True, valid=0, test=0)
    try:
        sound = vizdoom(tmp_path / "a", wanted).arrays("train")["sound"]
    except BadSetting as error:
        assert "OpenAL" in str(error)  # noqa: PT017 (either is right, by what the machine has)
        assert not list(tmp_path.glob("a/*"))
    else:
        assert sound.shape == (12, 22050 * 4 // 35)
        assert sound.dtype == np.int16
        assert sound.any()


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"levels": ("opera",)}, UnknownName, "my_way_home"),
        ({"levels": ()}, BadSetting, "level"),
        ({"tics": 0}, BadSetting, "tic"),
        ({"frames": 1, "valid": 0.9}, BadSetting, "train"),
        ({"size": (4, 64)}, BadSetting, "8 pixels"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(values, error, words):
    with pytest.raises(error, match=words):
        Wanted(**values)


def test_an_engine_that_dies_in_the_midst_of_a_game_is_a_sentence():
    pytest.importorskip("vizdoom")
    before = engines()
    frames = play(Game("basic", 1, (16, 16)), frames=50)
    next(frames)
    (own,) = engines() - before
    os.kill(own, signal.SIGKILL)
    with pytest.raises(BadSetting, match="the game in basic broke off") as caught:
        list(frames)
    assert "\n" not in str(caught.value)


def engines() -> set[int]:
    """Processes of the game that this one has started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, rest = path.read_text().split("(", 1)[1].rsplit(")", 1)
            if name.startswith("vizdoom") and int(rest.split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


def test_without_the_package_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(MissingExtra, match=r"speechvq\[image\]"):
        vizdoom(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_command_line_tells_what_it_made(workdir, capsys):
    write_mnist(workdir / "in")
    assert main(["prepare", "mnist", "in", "--out", "out"]) == 0
    assert "67 pictures" in " ".join(capsys.readouterr().out.split())
    assert main(["prepare", "mnist", "in", "--out", "out"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["prepare", "mnist", "in", "--out", "out", "--force"]) == 0
    assert main(["prepare", "pictures", "in", "--out", "p"]) == 2
    assert "no pictures" in capsys.readouterr().err
    assert main(["prepare", "vizdoom", "--size", "64y48", "--out", "p"]) == 2
    assert "128x96" in capsys.readouterr().err
    for flags in ("mnist in", "pictures in", "vizdoom --frames 2"):
        for taken in ("file", "file/in/it"):
            (workdir / "file").touch()
            assert main(["prepare", *flags.split(), "--out", taken]) == 2
            told = " ".join(capsys.readouterr().err.split())
            assert "file is a file; give the name of a folder with --out" in told
    (workdir / "file").unlink()
    flags = "--size 16x8 --frames 20 --level basic --test 0 --out v"
    assert main(["prepare", "vizdoom", *flags.split()]) == 0
    assert read_arrays("v").arrays("train")["picture"].shape == (19, 3, 8, 16)
    assert {path.name for path in workdir.iterdir()} == {"in", "out", "v"}
