"""Arrays by split: what is written is read, whole or not at all, and nothing strange is opened."""

import json
from pathlib import Path

import numpy as np
import pytest

from speechvq.errors import BadManifest, WouldOverwrite
from speechvq.store.arrays import INDEX, Kind, read_arrays, write_arrays

KINDS = {"picture": Kind((3, 4, 5)), "label": Kind((), "int64")}


def fill(folder: Path, seed: int, **options) -> dict[str, dict[str, np.ndarray]]:
    draw, kept = np.random.default_rng(seed), {}
    names: dict[str, tuple[str, ...]] = {}
    with write_arrays(folder, {"train": 7, "valid": 0, "test": 2}, KINDS, names=names, **options) as arrays:
        for split, part in arrays.items():
            for array in part.values():
                array[:] = draw.integers(0, 200, array.shape)
            kept[split] = {name: np.array(array) for name, array in part.items()}
        names["label"] = ("cat", "dog")
    return kept


def test_what_is_written_is_read(tmp_path):
    kept = fill(tmp_path / "new", 0, facts={"source": "drawn"})
    store = read_arrays(tmp_path / "new")
    assert store.counts == {"train": 7, "test": 2}
    assert store.names == {"label": ("cat", "dog")}
    assert store.facts == {"source": "drawn"}
    for split in ("train", "test"):
        for name, array in store.arrays(split).items():
            assert np.array_equal(array, kept[split][name])
            assert array.dtype == KINDS[name].dtype
            assert not array.flags.writeable
    assert store.arrays("valid") == {}


def test_a_store_is_replaced_only_when_asked_and_leaves_nothing(tmp_path):
    fill(tmp_path, 0)
    (tmp_path / "mine.txt").write_text("stays")
    with pytest.raises(WouldOverwrite):
        fill(tmp_path, 1)
    kept = fill(tmp_path, 2, force=True)
    assert np.array_equal(read_arrays(tmp_path).arrays("train")["picture"], kept["train"]["picture"])
    assert len(list(tmp_path.iterdir())) == 4 + 1 + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_fails_leaves_the_old_one(tmp_path, error):
    def broken(force: bool) -> None:
        with write_arrays(tmp_path, {"train": 3}, KINDS, force=force):
            raise error

    with pytest.raises(error):
        broken(False)
    assert not list(tmp_path.iterdir())
    kept = fill(tmp_path, 0)
    with pytest.raises(error):
        broken(True)
    assert np.array_equal(read_arrays(tmp_path).arrays("test")["label"], kept["test"]["label"])
    assert len(list(tmp_path.iterdir())) == 5


def test_damage_is_a_sentence(tmp_path):
    with pytest.raises(BadManifest, match="prepare"):
        read_arrays(tmp_path)
    fill(tmp_path, 0)
    index = json.loads((tmp_path / INDEX).read_text())
    (picture,) = tmp_path.glob("train-picture-*.npy")
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(BadManifest, match="damaged"):
        read_arrays(tmp_path).arrays("train")
    np.save(picture, np.zeros((6, 3, 4, 5), np.uint8))
    with pytest.raises(BadManifest, match="7 rows"):
        read_arrays(tmp_path).arrays("train")
    np.save(picture, np.array([{}] * 7, dtype=object), allow_pickle=True)
    with pytest.raises(BadManifest, match="damaged"):
        read_arrays(tmp_path).arrays("train")
    for change in ({"version": 2}, {"counts": 3}, {"files": {}}):
        (tmp_path / INDEX).write_text(json.dumps(index | change))
        with pytest.raises(BadManifest):
            read_arrays(tmp_path)
    index["files"]["train"]["picture"] = "../elsewhere.npy"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BadManifest, match="own folder"):
        read_arrays(tmp_path)
    for text in ("[1]", "{", "3"):
        (tmp_path / INDEX).write_text(text)
        with pytest.raises(BadManifest):
            read_arrays(tmp_path)
