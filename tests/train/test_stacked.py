"""A second codec is trained on the codes of a first; both are one folder, for pictures as any other."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechvq.cli import main
from speechvq.codec import Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.image.stacked import first_of
from speechvq.prior import Prior
from speechvq.store.codes import read_codes
from speechvq.train import train

STACKS = {"layers": 2, "first": 3, "kernel": 3, "width": 16, "skip": 16, "post": 16, "condition": 8}
GROUPED = {"name": "grouped", "groups": 3, "codebook_size": 8}


@pytest.fixture
def of_codes(config, pictures, picture_codec, runs):
    model = {
        "first": str(picture_codec),
        "encoder": {"name": "stacked", "dim": 12, "channels": 8},
        "decoder": {"name": "stacked", "dim": 12, "stacks": STACKS},
    }
    return runs.having(
        config, room="image", rate=1, data={"root": str(pictures)}, model=model, quantizer=GROUPED
    )


def test_it_learns_and_both_are_one_folder(of_codes, picture_codec, runs, capfd, tmp_path: Path):
    folder = train(runs.having(of_codes, runtime__steps=30, runtime__board_every=30, optimiser__lr=1e-2))
    losses = [line["codes/nll"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0] < 1.3 * math.log(16)
    told = capfd.readouterr().err
    assert "2.773 for a blind guess" in told
    assert "3 x 8 of 12 channels" in told
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    assert events.Tags()["images"] == ["pairs/first-stacked"]
    codec, below = Codec.from_pretrained(folder / "codec"), Codec.from_pretrained(picture_codec)
    for name, value in below.state_dict().items():
        assert torch.equal(first_of(codec).state_dict()[name], value), name

    picture, codes, back = tmp_path / "a.png", tmp_path / "a.svq", tmp_path / "b.png"
    levels = torch.randint(256, (16, 16, 3), dtype=torch.uint8)
    Image.fromarray(levels.numpy()).save(picture)
    assert main(["encode", str(picture), str(codes), "--codec", str(folder / "codec")]) == 0
    few = codec.encode(levels.movedim(2, 0)[None].float() / 127.5 - 1)
    assert torch.equal(read_codes(codes).indices, few.indices)
    assert main(["decode", str(codes), str(back), "--codec", str(folder / "codec")]) == 0
    made = ((codec.decode(few)[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    assert torch.equal(torch.from_numpy(np.array(Image.open(back))).movedim(2, 0), made)
    Image.new("RGB", (20, 16)).save(tmp_path / "wide.png")
    assert (
        main(
            ["encode", str(tmp_path / "wide.png"), str(tmp_path / "w.svq"), "--codec", str(folder / "codec")]
        )
        != 0
    )
    assert "become 4 x 4 codes of 4 pixels a side, and not 4 x 5" in capfd.readouterr().err


def test_a_prior_makes_up_its_few_codes(of_codes, runs, tmp_path: Path):
    codec = train(runs.having(of_codes, runtime__steps=1)) / "codec"
    model = {"codec": str(codec), "prior": {"name": "pixelcnn", "size": "tiny", "labels": "auto"}}
    run = runs.having(of_codes, folder=str(tmp_path / "prior"), model=model, runtime__steps=2)
    prior = train(run) / "prior"
    assert Prior.from_pretrained(prior).num_codebooks == 3
    made = tmp_path / "made.png"
    asked = ["generate", str(prior), "--codec", str(codec), "--label", "near", "--size", "16"]
    assert main([*asked, "--out", str(made)]) == 0
    assert Image.open(made).size == (16, 16)


def test_resumed_it_is_the_same(of_codes, runs):
    one = train(of_codes)
    two = runs.having(of_codes, folder=of_codes["folder"] + "2", runtime__max_minutes=0.002)
    train(two)
    train(runs.having(two, resume=True, runtime__max_minutes=None))
    runs.same(runs.state(one), runs.state(two["folder"]))


def test_begun_with_another_its_first_stays(of_codes, picture_codec, runs):
    codec = Codec.from_pretrained(picture_codec)
    with torch.no_grad():
        codec.quantizer.codebook.vectors.neg_()
    other = Path(of_codes["folder"] + "-first")
    codec.save_pretrained(other)
    before = train(runs.having(of_codes, runtime__steps=1, model__first=str(other)))
    again = runs.having(of_codes, folder=of_codes["folder"] + "2", runtime__steps=1)
    made = train(runs.having(again, init_from=str(before / "codec")))
    inner = first_of(Codec.from_pretrained(made / "codec"))
    assert inner.fingerprint == Codec.from_pretrained(picture_codec).fingerprint != codec.fingerprint


def test_what_cannot_be(of_codes, codec, runs):
    with pytest.raises(BadSetting, match="give model.first=FOLDER"):
        train(runs.having(of_codes, model__first=None))
    with pytest.raises(BadSetting, match="is of room speech, and this run of room image"):
        train(runs.having(of_codes, model__first=str(codec)))
    with pytest.raises(BadSetting, match="room is speech, give image"):
        train(runs.having(of_codes, room="speech"))
    with pytest.raises(BadSetting, match="is encoder, decoder and first, not told"):
        train(runs.having(of_codes, model__told={}))
    with pytest.raises(UnknownName, match="setting of encoder 'vqvae' called 'first'"):
        train(runs.having(of_codes, model__encoder={"name": "vqvae"}))
    with pytest.raises(BadSetting, match="18 x 16 do not divide into codes of 4 pixels"):
        train(runs.having(of_codes, data__size=[18, 16]))
    assert not Path(of_codes["folder"]).exists()
