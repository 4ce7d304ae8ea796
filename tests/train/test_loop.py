"""Runs: that they learn, resume to the last bit, end in order, and never write over another."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.speech.audio import read_audio
from speechvq.store.manifest import read_manifest, write_manifest
from speechvq.train import train
from speechvq.train.checkpoint import Checkpoints
from speechvq.train.loop import Diverged


def lines(folder: Path | str, split: str) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return [line for line in read if line["split"] == split]


def with_(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The settings with some replaced; ``runtime__steps=3`` reaches into a group."""
    made = json.loads(json.dumps(config))
    for name, value in changes.items():
        *path, last = name.split("__")
        place = made
        for part in path:
            place = place[part]
        place[last] = value
    return made


def same(a: Any, b: Any, where: str = "") -> None:
    """Bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{where}[{i}]")
    else:
        assert a == b, where


def state(folder: Path | str) -> dict[str, Any]:
    return Checkpoints(Path(folder) / "checkpoints").load()


def test_a_run_learns_and_leaves_a_codec(config, capfd):
    folder = train(with_(config, runtime__steps=40, runtime__board_every=20, runtime__log_every=10))
    losses = [line["loss"] for line in lines(folder, "train")]
    assert losses[-1] < 0.8 * losses[0]
    assert len(lines(folder, "valid")) == 7
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


def test_averaged_weights_are_exported_and_the_codebook_is_not_averaged_twice(config):
    folder = train(config)
    end = state(folder)
    exported = Codec.from_pretrained(folder / "codec").state_dict()
    averaged = {k.removeprefix("module."): v for k, v in end["average"].items()}
    raw = {k.removeprefix("codec."): v for k, v in end["objective"].items()}
    for name, value in exported.items():
        assert torch.equal(value, averaged[name]), name
    assert torch.equal(exported["quantizer.codebook.vectors"], raw["quantizer.codebook.vectors"])
    assert not torch.equal(exported["encoder.project.weight"], raw["encoder.project.weight"])
    off = train(with_(config, folder=config["folder"] + "2", runtime__ema=0))
    raw_off = {k.removeprefix("codec."): v for k, v in state(off)["objective"].items()}
    assert torch.equal(Codec.from_pretrained(off / "codec").state_dict()["encoder.project.weight"],
                       raw_off["encoder.project.weight"])  # fmt: skip


@pytest.mark.parametrize("objective", ["codec", "critic"])
def test_a_run_in_two_parts_equals_a_run_in_one(config, objective):
    if objective == "critic":
        config = with_(config, objective={"name": "critic", "width": 1, "start_step": 3, "window": 3200},
                       model__decoder__loss={"learn": "waveform"}, data__valid_seconds=0.4)  # fmt: skip
    config = with_(config, optimiser__accumulate=2, runtime__steps=8 if objective == "critic" else 40)
    one = train(config)
    two = with_(config, folder=config["folder"] + "2")
    # The schedule depends on the last step, so the first part is cut by time, not by steps.
    interrupted(two, after=5)
    assert 0 < state(two["folder"])["step"] < config["runtime"]["steps"]
    train(with_(two, resume=True))
    same(state(one), state(two["folder"]))
    assert lines(one, "valid") == lines(two["folder"], "valid")


def interrupted(config: dict[str, Any], *, after: int, how: signal.Signals = signal.SIGTERM) -> None:
    """Train here, and be sent a signal once ``after`` steps are logged."""

    def late(number: int, frame: FrameType | None) -> None:
        """Instead of pytest's end, if training was faster than the sender."""

    before = signal.signal(how, late)
    sender = threading.Thread(target=_send, args=(Path(config["folder"]), after, how, os.getpid()))
    sender.start()
    train(with_(config, runtime__log_every=1))
    sender.join()
    assert signal.signal(how, before) is late


def _send(folder: Path, after: int, how: signal.Signals, process: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        log = folder / "log.jsonl"
        if log.is_file() and sum('"train"' in line for line in log.read_text().splitlines()) >= after:
            os.kill(process, how)
            return
        time.sleep(0.001)


def test_killed_anywhere_and_resumed_equals_uninterrupted(config):
    config = with_(config, runtime__steps=60, runtime__save_every=3, runtime__valid_every=7)
    one = train(with_(config, runtime__log_every=1))
    two = with_(config, folder=config["folder"] + "2")
    after = int.from_bytes(os.urandom(2)) % 45 + 4
    told = with_(two, runtime__log_every=1)
    child = multiprocessing.get_context("fork").Process(target=train, args=(told,))
    child.start()
    assert child.pid is not None
    _send(Path(two["folder"]), after, signal.SIGKILL, child.pid)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    cut = state(two["folder"])["step"]
    assert cut < 60, f"killed after {after}, too late"
    train(with_(two, resume=True, runtime__log_every=1))
    same(state(one), state(two["folder"]), f"killed after {after}")
    assert [line["step"] for line in lines(two["folder"], "train")] == list(range(1, 61))
    for a, b in zip(lines(one, "train"), lines(two["folder"], "train"), strict=True):
        assert a["loss"] == b["loss"], (a["step"], after)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_orderly_end(config, how, capfd):
    interrupted(with_(config, runtime__steps=100000, runtime__save_every=100000), after=3, how=how)
    said = " ".join(capfd.readouterr().err.split())
    assert f"because {how.name} was received; resume=true goes on" in said
    assert state(config["folder"])["step"] >= 3
    Codec.from_pretrained(Path(config["folder"]) / "codec")


def test_time_is_up(config):
    folder = train(with_(config, runtime__steps=10**6, runtime__max_minutes=0.03))
    end = state(folder)
    assert 0 < end["step"] < 10**6
    train(with_(config, runtime__steps=end["step"] + 2, resume=True))
    assert state(folder)["step"] == end["step"] + 2


def test_processes_that_load_change_nothing(config):
    one = train(config)
    two = train(with_(config, folder=config["folder"] + "2", runtime__workers=2))
    same(state(one), state(two))


def test_no_run_is_written_over(config):
    folder = train(config)
    before = state(folder)
    with pytest.raises(WouldOverwrite, match="resume=true"):
        train(config)
    same(before, state(folder))
    (folder / "notes.txt").write_text("mine")
    train(with_(config, force=True, runtime__steps=2))
    assert state(folder)["step"] == 2
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(BadCheckpoint, match="another quantizer"):
        train(with_(config, resume=True, quantizer__codebook_size=8))


def test_a_refused_run_leaves_no_folder(config, tmp_path):
    with pytest.raises(BadSetting, match="prepare"):
        train(with_(config, data__manifest=""))
    assert not Path(config["folder"]).exists()


def test_resume_without_a_run_begins_one_and_of_a_finished_one_is_at_its_end(config):
    folder = train(with_(config, resume=True))
    before = state(folder)
    train(with_(config, resume=True))
    same(before, state(folder))


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(config):
    wild = with_(config, optimiser={"lr": 1e30, "warmup": 0, "clip": 0}, runtime__save_every=1)
    with pytest.raises(Diverged, match=r"at step [2-9] the loss"):
        train(wild)
    kept = Checkpoints(Path(config["folder"]) / "checkpoints")
    weights = kept.load()["objective"].values()
    assert all(v.isfinite().all() for v in weights if v.is_floating_point())


def test_without_held_out_recordings_the_last_state_is_exported(config, tmp_path):
    entries = [e for e in read_manifest(config["data"]["manifest"]) if e.split == "train"]
    write_manifest(tmp_path / "train.jsonl", entries)
    folder = train(with_(config, data__manifest=str(tmp_path / "train.jsonl"), runtime__board_every=12))
    assert not lines(folder, "valid")
    assert not (folder / "checkpoints" / "best.pt").exists()
    Codec.from_pretrained(folder / "codec")


def test_a_warm_start_takes_what_fits_and_says_what_does_not(config, capfd):
    first = train(config)
    other = with_(config, folder=config["folder"] + "2", init_from=str(first / "codec"), runtime__steps=1,
                  objective={"name": "codec", "freeze": ["encoder", "quantizer"]},
                  model__decoder__voice_channels=4)  # fmt: skip
    second = train(other)
    said = " ".join(capfd.readouterr().err.split())
    assert "begin anew (decoder.fast, decoder.slow, decoder.voice)" in said
    a, b = (Codec.from_pretrained(folder / "codec") for folder in (first, second))
    assert a.fingerprint == b.fingerprint
    with pytest.raises(BadCheckpoint, match="not a model folder"):
        train(with_(other, folder=config["folder"] + "3", init_from=str(first)))


def test_bf16(config):
    folder = train(with_(config, runtime__precision="bf16-mixed", runtime__steps=30))
    losses = [line["loss"] for line in lines(folder, "train")]
    assert losses[-1] < losses[0]
    assert state(folder)["objective"]["codec.encoder.project.weight"].dtype == torch.float32


def test_two_processes_are_one(config, tmp_path):
    """By torchrun: with nothing random, as one process with the whole batch; else, as each other."""
    plain = with_(
        config,
        folder=str(tmp_path / "plain"),
        model__decoder__jitter=0.0,
        quantizer__revival={"threshold": 0.0},
    )
    wild = with_(
        config,
        folder=str(tmp_path / "wild"),
        objective={"name": "critic", "width": 1, "start_step": 2},
        model__decoder__loss={"learn": "waveform"},
        quantizer__codebook_size=64,
        quantizer__learning={"by": "gradient"},
        optimiser__accumulate=2,
        runtime__steps=4,
    )
    (tmp_path / "runs.json").write_text(json.dumps([plain, wild]))
    (tmp_path / "work.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, tmp_path / "work.py", tmp_path / "runs.json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for name in ("plain", "wild"):
        ranks = [torch.load(tmp_path / name / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]
        same(*ranks)
        assert len(lines(tmp_path / name, "valid")) >= 1
    one = state(train(with_(plain, folder=str(tmp_path / "one"))))
    two = state(tmp_path / "plain")
    assert len(two["random"]) == 2
    for part in ("objective", "average"):
        for key, value in one[part].items():
            assert torch.allclose(value.float(), two[part][key].float(), atol=1e-5), key
    for a, b in zip(lines(tmp_path / "one", "valid"), lines(tmp_path / "plain", "valid"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


SCRIPT = """
import json, sys
from pathlib import Path
import torch
from speechvq.train.loop import begin, fit
from speechvq.train.settings import Settings
from speechvq.train.start import start_fabric

for config in json.loads(Path(sys.argv[1]).read_text()):
    settings = Settings.of(config)
    fabric = start_fabric(settings.runtime)
    run, task, desk = begin(fabric, settings)
    fit(fabric, run, task, settings, desk)
    torch.save(run.bare.state_dict(), desk.folder / f"rank-{fabric.global_rank}.pt")
"""
