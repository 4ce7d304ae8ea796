"""A prior is trained by the same loop, on the codes of a codec that does not change."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting, UnknownName
from speechvq.prior import Prior
from speechvq.train import train


@pytest.fixture(params=["wavenet", "transformer"])
def of_prior(request, config, codec, runs):
    prior = {"name": request.param, "size": "tiny", "speakers": "auto", "speaker_dropout": 0.1}
    model = {"codec": str(codec), "prior": prior}
    return runs.having(config, model=model, optimiser__lr=1e-2, runtime__steps=30, runtime__board_every=30)


def test_it_learns_and_is_exported_for_its_codec(of_prior, codec, runs, capfd):
    folder = train(of_prior)
    losses = [line["prior/nll"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0]
    assert losses[0] < 1.3 * math.log(16)
    made = Prior.from_pretrained(folder / "prior")
    assert made.codec == Codec.from_pretrained(codec).fingerprint
    assert made.spec["speakers"] == ["ann", "bob"]
    after = runs.state(folder)["objective"]
    for name, value in Codec.from_pretrained(codec).state_dict().items():
        assert value.equal(after[f"codec.{name}"]), name
    assert "2.773 for a blind guess" in capfd.readouterr().err
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    tags = events.Tags()
    assert {f"{name}/{i}" for name in ("made-up", "gone-on") for i in range(4)} == set(tags["audio"])
    assert {"train/prior/nll", "valid/prior/nll"} <= set(tags["scalars"])


@pytest.mark.parametrize("of_prior", ["transformer"], indirect=True)
def test_resumed_it_is_the_same(of_prior, runs):
    one = train(of_prior)
    two = runs.having(of_prior, folder=of_prior["folder"] + "2", runtime__max_minutes=0.002)
    train(two)
    assert runs.state(two["folder"])["step"] < 30
    train(runs.having(two, resume=True, runtime__max_minutes=None))
    runs.same(runs.state(one), runs.state(two["folder"]))


@pytest.mark.parametrize("of_prior", ["transformer"], indirect=True)
def test_speakers_are_counted_by_the_prior(of_prior, runs):
    few = runs.having(
        of_prior, model__prior__speakers=["bob", "ann"], runtime__steps=1, runtime__board_every=1
    )
    assert Prior.from_pretrained(train(few) / "prior").speakers == ("bob", "ann")
    nobody = runs.having(few, folder=of_prior["folder"] + "2", model__prior__speakers=[])
    nobody["model"]["prior"].pop("speaker_dropout")
    assert Prior.from_pretrained(train(nobody) / "prior").speakers == ()
    with pytest.raises(UnknownName, match="eve"):
        train(runs.having(of_prior, folder=of_prior["folder"] + "3", model__prior__speakers=["eve"]))


@pytest.mark.parametrize("of_prior", ["transformer"], indirect=True)
def test_what_cannot_be(of_prior, runs, tmp_path):
    with pytest.raises(BadSetting, match="whose codes"):
        train(runs.having(of_prior, model__codec=None))
    with pytest.raises(BadCheckpoint, match="not a model folder"):
        train(runs.having(of_prior, model__codec=str(tmp_path)))
    with pytest.raises(BadSetting, match="not encoder"):
        train(runs.having(of_prior, model__encoder={"name": "mel"}))
