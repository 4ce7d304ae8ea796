"""Codecs of pictures and priors over their codes by the same loop as sound; a prior told by another codec."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechvq.cli import main
from speechvq.codec import Codec
from speechvq.errors import BadSetting, SpeechVQError
from speechvq.image.coded import open_codes
from speechvq.image.data import open_corpus
from speechvq.prior import Prior
from speechvq.prior.places import points
from speechvq.store.arrays import Kind, write_arrays
from speechvq.train import train

VQVAE = {"name": "vqvae", "colours": "auto", "size": "tiny"}


@pytest.fixture
def of_pictures(config, pictures, runs):
    parts = {"encoder": VQVAE | {"dim": 8}, "decoder": VQVAE}
    return runs.having(config, room="image", rate=1, data={"root": str(pictures)}, model=parts)


def test_a_codec_of_pictures_learns(of_pictures, runs):
    folder = train(runs.having(of_pictures, runtime__board_every=6))
    losses = [line["picture/nll"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0]
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    assert events.Tags()["images"] == ["pairs/picture-codec"]
    codec = Codec.from_pretrained(folder / "codec")
    assert codec.decode(codec.encode(torch.zeros(1, 3, 16, 16))).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(("view", "colours"), [("depth", 1), ("edges", 1), ("low", 3), ("segmentation", 2)])
def test_a_codec_sees_another_view(of_pictures, runs, view, colours):
    folder = train(runs.having(of_pictures, data__view=view, runtime__steps=1))
    assert Codec.from_pretrained(folder / "codec").encoder.colours == colours


@pytest.fixture(params=["pixelcnn", "gpt"])
def of_prior(request, of_pictures, picture_codec, runs):
    prior = {"name": request.param, "size": "tiny"}
    if request.param == "pixelcnn":
        return runs.having(
            of_pictures, model={"codec": str(picture_codec), "prior": prior | {"labels": "auto"}}
        )
    depth = train(runs.having(of_pictures, folder=of_pictures["folder"] + "-depth", data__view="depth"))
    told = {"depth": str(depth / "codec"), "label": None}
    return runs.having(of_pictures, model={"codec": str(picture_codec), "prior": prior, "told": told})


def test_a_prior_of_pictures_learns_what_it_is_told(of_prior, picture_codec, runs, capfd):
    folder = train(runs.having(of_prior, runtime__steps=30, runtime__board_every=30, optimiser__lr=1e-2))
    losses = [line["prior/nll"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0] < 1.3 * math.log(16)
    assert "2.773 for a blind guess" in capfd.readouterr().err
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    assert set(events.Tags()["images"]) == {"made-up/pictures", "gone-on/pictures"}
    prior = Prior.from_pretrained(folder / "prior")
    assert prior.codec == Codec.from_pretrained(picture_codec).fingerprint
    names = {"pixelcnn": getattr(prior, "labels", ()), "gpt": [g.name for g in getattr(prior, "given", ())]}
    assert tuple(names[prior.spec["name"]]) in (("near", "far"), ("depth", "label"))


@pytest.mark.parametrize(("side", "size"), [(None, 1025), (5, 26)])
def test_a_prior_is_told_keypoints_of_the_data(of_pictures, picture_codec, runs, tmp_path, side, size):
    kinds = {"picture": Kind((3, 16, 16)), "keypoints": Kind((2, 2), "float32")}
    with write_arrays(tmp_path / "posed", {"train": 12, "valid": 4}, kinds) as arrays:
        for part in arrays.values():
            part["keypoints"][:] = np.random.default_rng(0).random((len(part["picture"]), 2, 2))
            part["keypoints"][0, 1] = np.nan
    prior = {"name": "gpt", "size": "tiny"}
    model = {"codec": str(picture_codec), "prior": prior, "told": {"keypoints": side}}
    root = str(tmp_path / "posed")
    folder = train(runs.having(of_pictures, model=model, data__root=root, runtime__steps=2))
    prior = Prior.from_pretrained(folder / "prior")
    (given,) = prior.given
    assert (given.name, given.kind, given.size) == ("keypoints", "tokens", size)
    told = torch.tensor([[[0.1, 0.9], [torch.nan, 0.5]]])
    drawn, again = (prior.generate((4, 4), {"keypoints": x}).indices for x in (told, points(told, size=size)))
    assert drawn.shape == (1, 1, 4, 4)
    assert torch.equal(drawn, again)


def test_a_prior_with_an_order_of_its_own_is_shown_without_going_on(of_pictures, picture_codec, runs):
    prior = {"name": "gpt", "size": "tiny", "reading": {"order": "spiral-out"}}
    model = {"codec": str(picture_codec), "prior": prior}
    folder = train(runs.having(of_pictures, model=model, runtime__steps=1, runtime__board_every=1))
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    assert events.Tags()["images"] == ["made-up/pictures"]
    assert not Prior.from_pretrained(folder / "prior").goes_on


def test_codes_are_those_of_each_picture_and_its_depth(pictures, picture_codec):
    """The slow twin: picture by picture from the arrays on disk."""
    corpus, codec = open_corpus({"root": str(pictures), "flip": True}), Codec.from_pretrained(picture_codec)
    told = {"label": None, "low": codec}
    codes = open_codes(corpus, codec, ("train", "valid"), told=told)["train"]
    assert len(codes) == 12
    (file,) = pictures.glob("train-picture-*.npy")
    for i, levels in enumerate(np.load(file)):
        picture = torch.from_numpy(levels).float()[None] / 127.5 - 1
        item = codes[3, i]
        assert torch.equal(item[""].long(), codec.encode(picture).indices[0])
        low = picture.unflatten(2, (2, 8)).unflatten(4, (2, 8)).mean((3, 5))
        low = torch.nn.functional.interpolate(low, size=(16, 16), mode="bilinear")
        assert torch.equal(item["low"].long(), codec.encode(low).indices[0])
        assert item["label"] == (4 + i % 8 < 8)
    batch = codes.collate([codes[0, 1], codes[0, 2]])
    assert batch.signal.shape == batch.condition["low"].shape == (2, 1, 4, 4)


def test_codes_are_kept_beside_a_store_by_what_they_are_of(pictures, picture_codec):
    codec = Codec.from_pretrained(picture_codec)

    def opened(**more):
        corpus = open_corpus({"root": str(pictures)} | more)
        return open_codes(corpus, codec, ("valid",), told={"edges": grey})["valid"]

    parts = {"encoder": VQVAE | {"dim": 8, "colours": 1}, "decoder": VQVAE | {"colours": 1}}
    torch.manual_seed(1)
    grey = Codec.build({"room": "image", "rate": 1, "quantizer": codec.quantizer.spec} | parts)
    first = opened()
    kept = set(pictures.glob("codes-valid-*.npy"))
    again = opened()
    assert set(pictures.glob("codes-valid-*.npy")) == kept
    assert torch.equal(first.codes, again.codes)
    assert torch.equal(first.condition["edges"], again.condition["edges"])
    assert opened(size=8).codes.shape[2:] == (2, 2)
    assert len(set(pictures.glob("codes-valid-*.npy"))) == len(kept) + 2


def test_kept_codes_of_one_view_are_not_those_of_another(pictures):
    parts = {"encoder": VQVAE | {"dim": 8, "colours": 1}, "decoder": VQVAE | {"colours": 1}}
    book = {"name": "lfq", "codebook_size": 256}
    torch.manual_seed(2)
    codec = Codec.build({"room": "image", "rate": 1, "quantizer": book} | parts)
    for name, parameter in codec.named_parameters():
        if name.endswith("bias"):  # without them the codes depend on the picture
            torch.nn.init.zeros_(parameter)
    each = []
    for view in ("edges", "depth"):
        corpus = open_corpus({"root": str(pictures), "view": view})
        data, found = corpus.split("valid"), open_codes(corpus, codec, ("valid",), told={})["valid"]
        seen = data.collate([data[0, i] for i in range(len(data))]).signal
        assert torch.equal(found.codes.long(), codec.encode(seen).indices)
        each.append(found.codes)
    assert not torch.equal(*each)


VQGAN = {"name": "vqgan", "size": "tiny", "colours": "auto"}
PATCH = {"name": "critic", "critic": "patch", "layers": 3, "channels": "auto", "width": 8, "start_step": 900}


@pytest.mark.parametrize(
    ("loss", "more", "sentence"),
    [
        ({}, {"data__size": 8}, r"\(8, 8\) pixels are too small for a perceptual loss"),
        ({}, {"data__view": "segmentation"}, "1 or 3 channels, not 2"),
        ({"perceptual": {"network": "lpips", "vgg": "no.pth"}}, {}, r"not at no.pth; .*perceptual\.vgg="),
        ({"kind": "segmentation"}, {"objective": PATCH, "data__view": "segmentation"}, "would judge logits"),
        ({"features": 0.0}, {"objective": PATCH}, r"16 x 16 pixels are too small .* needs 24 a side"),
    ],
)
def test_what_no_loss_can_see_is_said_before_there_is_a_run(of_pictures, runs, loss, more, sentence):
    model = {"encoder": VQGAN, "decoder": VQGAN | {"loss": loss}}
    asked = runs.having(of_pictures, model=model, **more)
    with pytest.raises(SpeechVQError, match=sentence):
        train(asked)
    assert not Path(asked["folder"]).exists()


def test_what_cannot_be_told_is_said(of_pictures, picture_codec, runs):
    told = {"codec": str(picture_codec), "prior": {"name": "gpt", "size": "tiny"}, "told": {"action": None}}
    with pytest.raises(BadSetting, match=r"no action; they have label, depth, segmentation"):
        train(runs.having(of_pictures, model=told))
    given = {"name": "coordinates", "size": 1024, "kind": "coordinates"}
    both = told | {"told": {"label": None}, "prior": told["prior"] | {"given": [given]}}
    with pytest.raises(BadSetting, match=r"not in both"):
        train(runs.having(of_pictures, model=both))
    for name, said in (("keypoints", 1), ("keypoints", True), ("label", 5), ("depth", 0.5)):
        with pytest.raises(BadSetting, match=rf"model.told.{name} is {said}; give"):
            train(runs.having(of_pictures, model=told | {"told": {name: said}}))
    with pytest.raises(BadSetting, match=r"leave data.view out"):
        train(runs.having(of_pictures, model=told | {"told": {"label": None}}, data__view="depth"))


def test_from_someones_photos_to_new_ones_at_the_command_line(tmp_path, monkeypatch, capsys):
    """Nothing but a folder: JPEGs of several sizes and colours, in folders, and one that is broken."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for i, (height, width) in enumerate([(40, 60), (70, 33), (32, 32), (90, 200)] * 2):
        place = Path("my photos") / f"{i % 2}" / f"{i}.JPG"
        place.parent.mkdir(parents=True, exist_ok=True)
        levels = draw.integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(levels).convert(("RGB", "L", "CMYK")[i % 3]).save(place)
    Path("my photos/0/broken.jpg").write_bytes(Path("my photos/0/0.JPG").read_bytes()[:300])
    sizes = ["data.size=32", "runtime.steps=1", "runtime.batch_size=2", "runtime.accelerator=cpu"]
    tiny = ["model.encoder.size=tiny", "model.decoder.size=tiny", "objective.start_step=0"]
    assert main(["train", "experiment=image_vqgan", "data.root=my photos", *sizes, *tiny]) == 0
    assert "left out" in capsys.readouterr().err
    last = json.loads(Path("runs/image_vqgan/log.jsonl").read_text().splitlines()[0])
    assert {"picture/l1", "picture/perceptual", "critic/maker", "critic/critic", "critic/balance"} <= set(
        last
    )
    board = EventAccumulator("runs/image_vqgan/board")
    board.Reload()
    assert board.Tags()["images"] == ["pairs/picture-codec"]
    prior = ["model.prior.size=tiny", "model.told.label=null"]
    assert main(["train", "experiment=image_gpt", "data.root=my photos", *sizes, *prior]) == 0
    made = ["generate", "runs/image_gpt/prior", "--codec", "runs/image_vqgan/codec", "--label", "1"]
    assert main([*made, "--size", "48x32", "--out", "new.jpg"]) == 0
    assert Image.open("new.jpg").size == (48, 32)
