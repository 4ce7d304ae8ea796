"""Pictures from folders and stores: sizes, crops, classes, splits, broken files, and that items repeat."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from speechvq.errors import BadManifest, BadPicture, BadSetting, UnknownName
from speechvq.image.data import PictureCorpus, PictureDataSettings, open_corpus
from speechvq.image.files import Frame, picture_size, read_picture
from speechvq.store.arrays import Kind, write_arrays


def draw(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0, **options) -> np.ndarray:
    """A smooth colourful picture of (height, width), written to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (4, 3, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    picture.save(path, **options)
    return np.asarray(picture)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty pictures of many sizes and two formats, in two folders, and two that are broken."""
    for i in range(20):
        name = (
            f"{'cat' if i % 2 else 'dog'}/{'deep/' if i % 5 == 0 else ''}{i:02d}.{'png' if i < 6 else 'JPG'}"
        )
        draw(tmp_path / "photos" / name, (30 + 3 * i, 60 - i), seed=i)
    (tmp_path / "photos/cat/empty.jpg").touch()
    whole = (tmp_path / "photos/dog/08.JPG").read_bytes()
    (tmp_path / "photos/dog/half.jpg").write_bytes(whole[:-60])
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve examples of 8 x 10 with everything that can go with a picture, and three held out."""
    kinds = {"picture": Kind((3, 8, 10)), "depth": Kind((1, 8, 10)), "segmentation": Kind((8, 10))}
    kinds |= {"label": Kind((), "int64"), "episode": Kind((), "int32")}
    names = {"label": ("a", "b"), "segmentation": ("wall", "floor")}
    with write_arrays(tmp_path / "store", {"train": 12, "valid": 3}, kinds, names=names) as arrays:
        for part in arrays.values():
            for name, array in part.items():
                high = 256 if name in ("picture", "depth") else 2
                array[:] = np.random.default_rng(len(name)).integers(0, high, array.shape)
    return tmp_path / "store"


def test_a_folder_of_photos_becomes_batches(photos, caplog):
    with caplog.at_level(logging.WARNING):
        corpus = open_corpus({"root": str(photos), "size": 16}, rate=1)
        train, valid = (corpus.split(name, hop=8, speakers=()) for name in ("train", "valid"))
    assert len(train) + len(valid) == 20
    assert len(valid) >= 1
    assert corpus.classes == ("cat", "dog")
    assert corpus.speakers == ()
    told = [record.message for record in caplog.records]
    assert sum("empty.jpg is empty" in line for line in told) == 1
    assert sum("half.jpg is truncated" in line for line in told) == 1
    assert len(told) == 2
    batch = train.collate([train[0, i] for i in range(5)])
    assert batch.signal.shape == (5, 3, 16, 16)
    assert batch.signal.dtype == torch.float32
    assert batch.signal.abs().max() <= 1
    assert batch.mask is None
    assert batch.condition["label"].dtype == torch.int64
    assert "2 classes" in str(corpus)
    everything = train.collate([train[0, i] for i in range(len(train))])
    assert set(everything.condition["label"].tolist()) == {0, 1}


@pytest.mark.parametrize("cache", [0.0, 4.0])
def test_an_item_is_what_pillow_would_make_of_the_file(tmp_path, cache):
    whole = draw(tmp_path / "a.png", (50, 30))
    corpus = PictureCorpus(PictureDataSettings(str(tmp_path), size=(20, 24), cache=cache))
    assert corpus.classes == ()
    item = corpus.split("train")[3, 0]["picture"]
    scaled = np.asarray(Image.fromarray(whole).resize((24, 40), Image.Resampling.LANCZOS))
    assert np.array_equal(item, scaled[10:30].transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["photos", "store"])
def test_items_depend_on_seed_epoch_and_index_alone(kind, request):
    root = str(request.getfixturevalue(kind))
    values = {"root": root, "size": (8, 6), "crop": "random", "shorter": 9, "flip": True}

    def pictures(*keys: tuple[int, int], **options) -> list[bytes]:
        data = open_corpus(values | options, rate=1).split("train")
        return [np.ascontiguousarray(data[key]["picture"]).tobytes() for key in keys]

    keys = [(e, i) for e in range(4) for i in range(5)]
    first = pictures(*keys)
    assert pictures(*reversed(keys)) == first[::-1]
    assert pictures(*keys, cache=0.0) == first
    assert pictures(*keys, seed=1) != first
    assert len({pictures((e, 0))[0] for e in range(12)}) > 4


def test_maps_are_cut_and_mirrored_with_the_picture(tmp_path):
    """Depth is the picture's first channel, segmentation its second: so they stay, whatever is drawn."""
    kinds = {"picture": Kind((3, 9, 12)), "depth": Kind((1, 9, 12)), "segmentation": Kind((9, 12))}
    with write_arrays(tmp_path, {"train": 3}, kinds) as arrays:
        part = arrays["train"]
        part["picture"][:] = np.random.default_rng(0).integers(0, 256, part["picture"].shape)
        part["depth"][:], part["segmentation"][:] = part["picture"][:, :1], part["picture"][:, 1]
    data = open_corpus({"root": str(tmp_path), "size": 9, "crop": "random", "flip": True}, rate=1).split(
        "train"
    )
    seen = set()
    for epoch in range(20):
        batch = data.collate([data[epoch, i] for i in range(3)])
        assert torch.equal(batch.condition["depth"], batch.signal[:, :1])
        assert torch.equal(batch.condition["segmentation"], ((batch.signal[:, 1] + 1) * 127.5).round().long())
        seen.add(batch.signal[0].numpy().tobytes())
    assert 5 < len(seen) <= 4 * 2
    whole = np.asarray(part["picture"][0])
    cuts = {whole[..., a : a + 9].tobytes() for a in range(4)}
    cuts |= {np.ascontiguousarray(whole[..., a : a + 9][..., ::-1]).tobytes() for a in range(4)}
    assert {np.ascontiguousarray(data[e, 0]["picture"]).tobytes() for e in range(20)} <= cuts


def test_keypoints_stay_where_they_are_in_the_picture(tmp_path):
    """Each points at the one white pixel of its picture, or at nothing if that is cut off."""
    kinds = {"picture": Kind((1, 9, 12)), "keypoints": Kind((2, 2), "float32")}
    with write_arrays(tmp_path, {"train": 12}, kinds) as arrays:
        part = arrays["train"]
        for column in range(12):
            part["picture"][column, 0, column % 9, column] = 255
            part["keypoints"][column] = [[(column % 9 + 0.5) / 9, (column + 0.5) / 12], [np.nan, np.nan]]
    data = open_corpus({"root": str(tmp_path), "size": 9, "crop": "random", "flip": True}).split("train")
    seen = {True: 0, False: 0}
    for epoch in range(6):
        batch = data.collate([data[epoch, i] for i in range(12)])
        found = batch.condition["keypoints"]
        assert found.dtype == torch.float32
        assert found[:, 1].isnan().all()
        for picture, point in zip(batch.signal[:, 0], found[:, 0], strict=True):
            there = (picture == 1).nonzero()
            seen[bool(len(there))] += 1
            if len(there):
                assert torch.allclose(point, (there[0] + 0.5) / 9)
            else:
                assert point.isnan().all()
    assert min(seen.values()) > 5
    small = open_corpus({"root": str(tmp_path), "size": [18, 24]}).split("train", still=True)[0, 4]
    assert np.allclose(small["keypoints"][0], [4.5 / 9, 4.5 / 12])


def test_keypoints_that_are_no_points_are_refused(workdir):
    kinds = {"picture": Kind((1, 8, 8)), "keypoints": Kind((4,), "int64")}
    with write_arrays(workdir / "kept", {"train": 3}, kinds):
        pass
    with pytest.raises(BadManifest, match=r"keypoints of train in kept: they must be \(n, 2\)"):
        open_corpus({"root": "kept"})


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [(Kind((), "int64"), r"must be a row \(n,\) of integers"), (Kind((2,), "float32"), "0.0 to 0.0")],
)
def test_texts_that_are_no_rows_of_integers_are_refused(workdir, kind, sentence):
    with write_arrays(workdir / "kept", {"train": 3}, {"picture": Kind((1, 8, 8)), "text": kind}):
        pass
    with pytest.raises(BadManifest, match=f"text of train in kept: .*{sentence}"):
        open_corpus({"root": "kept"})


def test_a_store_gives_all_or_what_is_asked(store):
    corpus = open_corpus({"root": str(store)}, rate=1)
    assert (corpus.size, corpus.channels, corpus.classes) == ((8, 10), 3, ("a", "b"))
    assert corpus.names["segmentation"] == ("wall", "floor")
    data = corpus.split("valid", hop=2, speakers=())
    batch = data.collate([data[0, i] for i in range(3)])
    stored = np.load(next(store.glob("valid-picture-*")))
    assert np.array_equal(((batch.signal + 1) * 127.5).round().byte().numpy(), stored)
    assert set(batch.condition) == {"label", "depth", "segmentation"}
    assert batch.condition["depth"].shape == (3, 1, 8, 10)
    assert batch.condition["segmentation"].shape == (3, 8, 10)
    assert set(batch.condition["segmentation"].unique().tolist()) <= {0, 1}
    some = open_corpus({"root": str(store), "conditions": ["label"], "channels": 1, "size": 16}, rate=1)
    data = some.split("train")
    batch = data.collate([data[0, 0], data[7, 11]])
    assert batch.signal.shape == (2, 1, 16, 16)
    assert set(batch.condition) == {"label"}
    assert len(some.split("test")) == 0


def test_folders_named_by_splits_are_splits(tmp_path):
    for i in range(12):
        draw(tmp_path / "Train" / ("x" if i % 2 else "y") / f"{i}.png", seed=i)
    for i in range(3):
        draw(tmp_path / "test" / "x" / f"{i}.png", seed=i)
    corpus = open_corpus({"root": str(tmp_path), "valid": 0.2}, rate=1)
    assert corpus.classes == ("x", "y")
    sizes = {name: len(corpus.split(name)) for name in ("train", "valid", "test")}
    assert sizes["test"] == 3
    assert sizes["train"] + sizes["valid"] == 12
    assert sizes["valid"] > 0
    draw(tmp_path / "val" / "y" / "a.png")
    corpus = open_corpus({"root": str(tmp_path)}, rate=1)
    assert [len(corpus.split(name)) for name in ("train", "valid", "test")] == [12, 1, 3]


def test_new_photos_do_not_move_old_ones(tmp_path):
    for i in range(40):
        draw(tmp_path / f"{i}.png", (4, 4), seed=i)
    first = open_corpus({"root": str(tmp_path), "valid": 0.3}, rate=1).source.splits
    for i in range(40, 60):
        draw(tmp_path / f"{i}.png", (4, 4), seed=i)
    second = open_corpus({"root": str(tmp_path), "valid": 0.3}, rate=1).source.splits
    assert all(second[place] == split for place, split in first.items())
    assert 0 < sum(split == "valid" for split in second.values()) < 30


def test_one_photo_is_trained_on(tmp_path):
    for name in "abcdefgh":
        for old in tmp_path.glob("*.png"):
            old.unlink()
        draw(tmp_path / f"{name}.png")
        assert len(open_corpus({"root": str(tmp_path), "valid": 0.5}, rate=1).split("train")) == 1


def test_a_file_that_breaks_later_is_replaced_by_the_next(photos, caplog):
    data = open_corpus({"root": str(photos), "size": 8, "cache": 0.0}, rate=1).split("train")
    caplog.clear()
    places = [data.rows.places[i] for i in (3, 4)]
    good = data[0, 4]["picture"]
    (photos / places[0]).write_bytes(b"no longer")
    for epoch in range(3):
        assert np.array_equal(data[epoch, 3]["picture"], good)
    assert len(caplog.records) == 1
    for place in data.rows.places:
        (photos / place).unlink()
    with pytest.raises(BadPicture, match="any more"):
        data[0, 0]


def test_pictures_of_every_kind(tmp_path):
    """Upright, without transparency, in 8 bits; and large JPEGs are decoded small but alike."""
    upright = draw(tmp_path / "turned.jpg", (24, 40), exif=_turned(), quality=95)
    read = read_picture(tmp_path / "turned.jpg")
    assert read.shape == (3, 40, 24)
    assert np.abs(read.transpose(1, 2, 0).astype(int) - np.rot90(upright, -1)).mean() < 3
    assert picture_size(tmp_path / "turned.jpg") == (40, 24)
    Image.fromarray(np.full((5, 6), 0x8001, np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png") == 0x80).all()
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert (read_picture(tmp_path / "print.jpg", channels=1) == 255).all()
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.gif")
    assert read_picture(tmp_path / "palette.gif").shape == (3, 4, 4)
    large = draw(tmp_path / "large.jpg", (640, 900), quality=95)
    small = read_picture(tmp_path / "large.jpg", Frame((32, 32)))
    exact = Image.fromarray(large).resize((45, 32), Image.Resampling.LANCZOS)
    assert np.abs(small.transpose(1, 2, 0).astype(int) - np.asarray(exact)).mean() < 3


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("name", ["label", "action", "segmentation"])
def test_a_class_beyond_the_names_is_found_when_a_store_is_opened(workdir, name):
    kinds = {"picture": Kind((1, 8, 8)), name: Kind((8, 8) if name == "segmentation" else ())}
    for last in (1, 2):
        counts, names = {"train": 3, "valid": 2}, {name: ("a", "b")}
        with write_arrays(workdir / "kept", counts, kinds, names=names, force=True) as arrays:
            arrays["valid"][name][-1:].reshape(-1)[-1] = last
        if last == 1:
            assert open_corpus({"root": "kept"}).names[name] == ("a", "b")
            continue
        with pytest.raises(BadManifest, match=f"{name} of valid in kept: 0 to 2, of 2 names"):
            open_corpus({"root": "kept"})


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({}, BadSetting, "data.root"),
        ({"root": "none"}, BadSetting, "no folder"),
        ({"root": "hollow"}, BadSetting, "no pictures"),
        ({"root": "broken"}, BadSetting, "none of the 2 pictures"),
        ({"root": "late", "size": 8}, BadSetting, "none of the 2 pictures"),
        ({"root": "photos", "size": 0}, BadSetting, "data.size"),
        ({"root": "photos", "size": [8, 8, 8]}, BadSetting, "data.size"),
        ({"root": "photos", "size": "big"}, BadSetting, "data.size"),
        ({"root": "photos", "size": 12}, BadSetting, "multiple of 8"),
        ({"root": "photos", "size": 16, "shorter": 8}, BadSetting, "shorter"),
        ({"root": "photos", "crop": "left"}, UnknownName, "center, random"),
        ({"root": "photos", "channels": 2}, BadSetting, "channels"),
        ({"root": "photos", "conditions": ["mood"]}, UnknownName, "label, action"),
        ({"root": "photos", "conditions": ["depth"]}, BadSetting, "has no depth; it has label"),
        ({"root": "photos", "valid": 0.9}, BadSetting, "data.valid"),
        ({"root": "photos", "zoom": 2}, UnknownName, "zoom"),
        ({"root": "other"}, BadManifest, "no pictures to train on"),
    ],
)
def test_what_cannot_be_is_a_sentence(photos, workdir, values, error, words):
    for folder in ("hollow", "broken", "late"):
        (workdir / folder).mkdir()
    (workdir / "broken/a.png").write_text("text")
    (workdir / "broken/b.png").touch()
    for name in ("a", "b"):
        draw(workdir / f"late/{name}.png")
        cut = (workdir / f"late/{name}.png").read_bytes()[:-40]
        (workdir / f"late/{name}.png").write_bytes(cut)
    with write_arrays(workdir / "other", {"train": 2}, {"label": Kind(())}):
        pass
    with pytest.raises(error, match=words) as caught:
        open_corpus(values, rate=1).split("train", hop=8)
    assert "\n" not in str(caught.value)
