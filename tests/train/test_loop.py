"""Runs: that they learn, end in order, begin from another, and never write over one."""

from pathlib import Path

import pytest
import torch

from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.speech.audio import read_audio
from speechvq.store.manifest import read_manifest, write_manifest
from speechvq.train import train
from speechvq.train.checkpoint import Checkpoints
from speechvq.train.loop import Diverged


def test_a_run_learns_and_leaves_a_codec(config, capfd, runs):
    folder = train(runs.having(config, runtime__steps=40, runtime__board_every=20, runtime__log_every=10))
    losses = [line["loss"] for line in runs.lines(folder, "train")]
    assert losses[-1] < 0.8 * losses[0]
    assert len(runs.lines(folder, "valid")) == 7
    codec = Codec.from_pretrained(folder / "codec")
    assert codec.decoder.speakers == ("ann", "bob")
    wave = read_audio(Path(config["data"]["manifest"]).parent / "15.wav")[None]
    made = codec.decode(codec.encode(wave), speaker="ann")
    assert made.shape[-1] == wave.shape[-1] // 320 * 320
    card = (folder / "codec" / "README.md").read_text()
    assert "40 training steps" in card
    assert str(folder) not in card
    assert str(Path(config["data"]["manifest"]).parent) not in card
    told = capfd.readouterr().err
    assert "each code sees" in told
    assert "of 16 codes used this epoch" in told
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept >= {"latest.pt", "best.pt", "step-00000040.pt"}
    assert any((folder / "board").iterdir())


def test_averaged_weights_are_exported_and_the_codebook_is_not_averaged_twice(config, runs):
    folder = train(config)
    end = runs.state(folder)
    exported = Codec.from_pretrained(folder / "codec").state_dict()
    averaged = {k.removeprefix("module."): v for k, v in end["average"].items()}
    raw = {k.removeprefix("codec."): v for k, v in end["objective"].items()}
    for name, value in exported.items():
        assert torch.equal(value, averaged[name]), name
    assert torch.equal(exported["quantizer.codebook.vectors"], raw["quantizer.codebook.vectors"])
    assert not torch.equal(exported["encoder.project.weight"], raw["encoder.project.weight"])
    off = train(runs.having(config, folder=config["folder"] + "2", runtime__ema=0))
    raw_off = {k.removeprefix("codec."): v for k, v in runs.state(off)["objective"].items()}
    assert torch.equal(Codec.from_pretrained(off / "codec").state_dict()["encoder.project.weight"],
                       raw_off["encoder.project.weight"])  # fmt: skip


def test_no_run_is_written_over(config, runs):
    folder = train(config)
    before = runs.state(folder)
    with pytest.raises(WouldOverwrite, match="resume=true"):
        train(config)
    runs.same(before, runs.state(folder))
    (folder / "notes.txt").write_text("mine")
    train(runs.having(config, force=True, runtime__steps=2))
    assert runs.state(folder)["step"] == 2
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(BadCheckpoint, match="another quantizer"):
        train(runs.having(config, resume=True, quantizer__codebook_size=8))


def test_a_refused_run_leaves_no_folder(config, tmp_path, runs):
    with pytest.raises(BadSetting, match="prepare"):
        train(runs.having(config, data__manifest=""))
    assert not Path(config["folder"]).exists()


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(config, runs):
    wild = runs.having(config, optimiser={"lr": 1e30, "warmup": 0, "clip": 0}, runtime__save_every=1)
    with pytest.raises(Diverged, match=r"at step [2-9] the loss"):
        train(wild)
    kept = Checkpoints(Path(config["folder"]) / "checkpoints")
    weights = kept.load()["objective"].values()
    assert all(v.isfinite().all() for v in weights if v.is_floating_point())


def test_without_held_out_recordings_the_last_state_is_exported(config, tmp_path, runs):
    entries = [e for e in read_manifest(config["data"]["manifest"]) if e.split == "train"]
    write_manifest(tmp_path / "train.jsonl", entries)
    folder = train(runs.having(config, data__manifest=str(tmp_path / "train.jsonl"), runtime__board_every=12))
    assert not runs.lines(folder, "valid")
    assert not (folder / "checkpoints" / "best.pt").exists()
    Codec.from_pretrained(folder / "codec")


def test_a_warm_start_takes_what_fits_and_says_what_does_not(config, capfd, runs):
    first = train(config)
    other = runs.having(
        config,
        folder=config["folder"] + "2",
        init_from=str(first / "codec"),
        runtime__steps=1,
        objective={"name": "codec", "freeze": ["encoder", "quantizer"]},
        model__decoder__voice_channels=4,
    )
    second = train(other)
    said = " ".join(capfd.readouterr().err.split())
    assert "begin anew (decoder.fast, decoder.slow, decoder.voice)" in said
    a, b = (Codec.from_pretrained(folder / "codec") for folder in (first, second))
    assert a.fingerprint == b.fingerprint
    with pytest.raises(BadCheckpoint, match="not a model folder"):
        train(runs.having(other, folder=config["folder"] + "3", init_from=str(first)))


def test_bf16(config, runs):
    folder = train(runs.having(config, runtime__precision="bf16-mixed", runtime__steps=30))
    losses = [line["loss"] for line in runs.lines(folder, "train")]
    assert losses[-1] < losses[0]
    assert runs.state(folder)["objective"]["codec.encoder.project.weight"].dtype == torch.float32
