"""A prior is trained by the same loop, on the codes of a codec that does not change."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechvq.cli import main
from speechvq.codec import Codec, Codes
from speechvq.errors import BadCheckpoint, BadSetting, UnknownName
from speechvq.image.data import open_corpus
from speechvq.prior import Prior
from speechvq.speech.audio import read_audio
from speechvq.speech.coded import open_codes
from speechvq.speech.data import open_corpus as open_recordings
from speechvq.store.arrays import Kind, write_arrays
from speechvq.train import compose, train
from speechvq.train.fitting import build_prior, code_vectors


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


def test_speech_from_a_stack_of_codes_by_the_command_line(config, manifest, tmp_path, runs, capsys):
    """A codec of residual codes, the prior over them, what it makes up, and what held-out codes cost it."""
    quantizer = {"name": "residual", "codebook_size": 16, "num_codebooks": 3}
    codec = train(runs.having(config, quantizer=quantizer, runtime__steps=5)) / "codec"
    few = ["runtime.steps=5", "runtime.batch_size=4", "runtime.accelerator=cpu", "model.prior.size=tiny"]
    data = [f"data.manifest={manifest}", "data.seconds=0.4", "data.valid_seconds=0.6"]
    asked = ["experiment=speech_rq", *few, *data, f"model.codec={codec}"]
    assert main(["train", *asked, f"folder={tmp_path / 'hard'}"]) == 0
    soft = [*asked, "model.soft.temperature=0.5", f"folder={tmp_path / 'soft'}"]
    assert main(["train", *soft]) == 0
    held = [runs.lines(tmp_path / name, "valid")[-1] for name in ("hard", "soft")]
    assert all(0 < line["prior/nll"] < 1.3 * math.log(16) for line in held)
    assert 0 < runs.lines(tmp_path / "soft", "train")[-1]["soft/certainty_3"] <= 1
    for name in ("hard", "soft"):
        prior = tmp_path / name / "prior"
        made = ["generate", str(prior), "--codec", str(codec), "--speaker", "bob", "--seconds", "1"]
        assert main([*made, "--out", str(tmp_path / f"{name}.wav"), "--top-k", "4,8,16"]) == 0
        assert read_audio(tmp_path / f"{name}.wav").shape == (1, 16000)
        made = Prior.from_pretrained(prior)
        assert (made.grid, made.speakers, made.num_codebooks) == ((), ("ann", "bob"), 3)
        assert torch.equal(made.vectors, code_vectors(Codec.from_pretrained(codec).quantizer))
    scored = ["score", "prior", str(prior), str(manifest), "--codec", str(codec), "--split", "valid"]
    capsys.readouterr()
    assert main(scored) == 0
    assert "bits per code" in capsys.readouterr().out


@pytest.mark.parametrize("experiment", ["image_rq", "image_pixelcnn"])
def test_a_class_is_not_told_to_a_prior_without_labels(experiment, pictures, picture_codec):
    spec = dict(compose([f"experiment={experiment}"])["model"]["prior"]) | {"size": "tiny"}
    codec, corpus = Codec.from_pretrained(picture_codec), open_corpus({"root": str(pictures)})
    with pytest.raises(BadSetting, match=r"has no labels; give model\.prior\.labels=auto"):
        build_prior(spec | {"labels": []}, codec, corpus, {"label": None})
    assert build_prior(spec | {"labels": "auto"}, codec, corpus, {"label": None}).labels == ("near", "far")


def test_a_prior_is_fitted_to_codec_and_data(manifest, pictures, codec, picture_codec):
    spec = dict(compose(["experiment=image_rq"])["model"]["prior"]) | {"size": "tiny", "labels": "auto"}
    of_pictures, of_speech = Codec.from_pretrained(picture_codec), Codec.from_pretrained(codec)
    corpus = open_corpus({"root": str(pictures)})
    prior = build_prior(spec, of_pictures, corpus)
    assert (prior.grid, prior.channels, prior.num_codebooks, prior.speakers) == ((4, 4), 8, 1, ())
    assert prior.labels == ("near", "far")
    assert torch.equal(prior.vectors[0], of_pictures.quantizer.codebook.codes())
    vectors, indices = prior.vectors[0], torch.arange(16)[None, None]
    assert torch.equal(of_pictures.quantizer.decode(indices)[0].T, vectors)
    recordings = open_recordings(
        {"manifest": str(manifest), "seconds": 0.6, "valid_seconds": 0.4}, rate=16000
    )
    prior = build_prior(spec | {"labels": []}, of_speech, recordings)
    assert (prior.grid, prior.speakers) == ((30,), ("ann", "bob"))
    data = open_codes(recordings, of_speech, ("train", "valid"), told={}, voices=prior.speakers)
    for part in data.values():
        batch = part.collate([part[0, i] for i in range(len(part))])
        assert prior.nats(Codes(batch.signal, batch.mask), batch.condition).isfinite().all()
    longer = open_recordings({"manifest": str(manifest), "seconds": 0.4, "valid_seconds": 0.6}, rate=16000)
    with pytest.raises(BadSetting, match="longer than the 0.4 s that places are learned of"):
        build_prior(spec | {"labels": []}, of_speech, longer)
    with pytest.raises(BadSetting, match=r"a grid \(30,\) does not fit in the grid \(29,\)"):
        build_prior(spec | {"labels": [], "grid": [29]}, of_speech, recordings)
    assert build_prior(spec | {"labels": [], "grid": [31]}, of_speech, recordings).grid == (31,)
    with pytest.raises(BadSetting, match=r"this prior takes \(1, 16, 5\)"):
        build_prior(spec | {"channels": 5}, of_pictures, corpus)
    config = of_pictures.config | {"quantizer": {"name": "fsq", "levels": [3, 3]}}
    scalars = Codec.build(config)
    assert build_prior(spec, scalars, corpus).channels == 0
    with pytest.raises(BadSetting, match=r"FSQ are no vectors to be summed up.*channels=0"):
        build_prior(spec | {"channels": 8}, scalars, corpus)


def test_the_codecs_vectors_are_kept_when_weights_come_from_elsewhere(of_pictures_rq, runs):
    first = train(of_pictures_rq)
    other = Prior.from_pretrained(first / "prior")
    other.vectors.zero_()
    other.save_pretrained(first / "elsewhere")
    again = runs.having(
        of_pictures_rq, folder=of_pictures_rq["folder"] + "2", init_from=str(first / "elsewhere")
    )
    vectors = code_vectors(Codec.from_pretrained(again["model"]["codec"]).quantizer)
    assert torch.equal(Prior.from_pretrained(train(again) / "prior").vectors, vectors)
    assert vectors.abs().sum() > 0


@pytest.fixture
def of_pictures_rq(config, pictures, picture_codec, runs):
    prior = {"name": "residual", "size": "tiny", "grid": "auto", "channels": "auto", "shared": "auto"}
    model = {"codec": str(picture_codec), "prior": prior}
    data = {"root": str(pictures)}
    return runs.having(config, room="image", rate=1, data=data, model=model, runtime__steps=2)


@pytest.mark.parametrize("soft", [None, 0.5])
def test_without_held_out_pictures_what_is_learned_from_is_gone_on_with(of_pictures_rq, runs, soft, tmp_path):
    """The board's pictures come from codes, or from pictures that are turned into codes first."""
    for i in range(6):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    data = {"root": str(tmp_path), "valid": 0.0, "size": 16}
    settings = runs.having(of_pictures_rq, folder=str(tmp_path / "run"), data=data, runtime__board_every=2)
    settings["model"]["soft"] = {"temperature": soft}
    events = EventAccumulator(str(train(settings) / "board"))
    events.Reload()
    assert set(events.Tags()["images"]) == {"made-up/pictures", "gone-on/pictures"}


@pytest.fixture
def told_texts(of_pictures_rq, runs, tmp_path):
    """A prior that is told three words out of five, and pictures that come with them."""
    kinds = {"picture": Kind((3, 16, 16)), "text": Kind((3,), "int16")}
    with write_arrays(tmp_path / "texts", {"train": 12, "valid": 4}, kinds) as arrays:
        for part in arrays.values():
            part["text"][:] = np.random.default_rng(0).integers(0, 5, (len(part["text"]), 3))
    told = runs.having(of_pictures_rq, data={"root": str(tmp_path / "texts")})
    told["model"]["prior"] |= {"told": {"words": 5, "length": 3}}
    return told


@pytest.mark.parametrize("soft", [None, 0.5])
def test_a_prior_is_told_the_texts_of_pictures(told_texts, runs, soft, capfd):
    told_texts["model"]["soft"] = {"temperature": soft}
    folder = train(runs.having(told_texts, runtime__steps=30, optimiser__lr=1e-2))
    losses = [line["prior/soft" if soft else "prior/nll"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0]
    assert "is told text" in " ".join(capfd.readouterr().err.split())
    prior = Prior.from_pretrained(folder / "prior")
    one, other = (
        prior.nats(Codes(torch.zeros(1, 1, 4, 4).long()), {"text": t}) for t in torch.eye(3).long()[:2, None]
    )
    assert not torch.equal(one, other)


def test_texts_that_the_prior_cannot_read_are_refused_at_once(told_texts, pictures, runs):
    def refused(words, **changes):
        with pytest.raises(BadSetting, match=words):
            train(runs.having(told_texts, **changes))
        assert not Path(told_texts["folder"]).exists()

    refused(r"have no text; they have", data__root=str(pictures))
    refused(r"give it as \(B, 4\) tokens", model__prior__told={"words": 5, "length": 4})
    refused("words of a text are 0 to 3; one is beyond", model__prior__told={"words": 4, "length": 3})
    refused(r"leave model.told.text out", model__told={"text": None})
