"""Runs that are cut off, killed or spread over processes are the run they would have been."""

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

import pytest
import torch

from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.train import train


@pytest.mark.parametrize("objective", ["codec", "critic"])
def test_a_run_in_two_parts_equals_a_run_in_one(config, objective, runs):
    if objective == "critic":
        config = runs.having(
            config,
            objective={"name": "critic", "width": 1, "start_step": 3, "window": 3200},
            model__decoder__loss={"learn": "waveform"},
            data__valid_seconds=0.4,
        )
    steps = 8 if objective == "critic" else 25
    config = runs.having(config, optimiser__accumulate=2, runtime__steps=steps)
    one = train(config)
    two = runs.having(config, folder=config["folder"] + "2")
    # The schedule depends on the last step, so the first part is cut by time, not by steps.
    interrupted(runs, two, after=5)
    assert 0 < runs.state(two["folder"])["step"] < config["runtime"]["steps"]
    train(runs.having(two, resume=True))
    runs.same(runs.state(one), runs.state(two["folder"]))
    assert runs.lines(one, "valid") == runs.lines(two["folder"], "valid")


def interrupted(runs, config, *, after: int, how: signal.Signals = signal.SIGTERM) -> None:
    """Train here, and be sent a signal once ``after`` steps are logged."""

    def late(number: int, frame: FrameType | None) -> None:
        """Instead of pytest's end, if training was faster than the sender."""

    before = signal.signal(how, late)
    sender = threading.Thread(target=_send, args=(Path(config["folder"]), after, how, os.getpid()))
    sender.start()
    train(runs.having(config, runtime__log_every=1))
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


@pytest.mark.parametrize("text", [None, "", "a: [1", "model: 3"])
def test_a_run_without_its_settings_is_not_gone_on_with(config, runs, text):
    folder = train(runs.having(config, runtime__steps=1))
    (folder / "config.yaml").unlink()
    if text is not None:
        (folder / "config.yaml").write_text(text)
    with pytest.raises(BadCheckpoint, match=r"config.yaml.* is gone or damaged|had another room"):
        train(runs.having(config, resume=True))
    with pytest.raises(WouldOverwrite, match="give resume=true to go on .*, force=true to replace it"):
        train(config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(config, runs):
    with pytest.raises(BadSetting, match="no CUDA GPU can be used here"):
        train(runs.having(config, runtime__accelerator="cuda"))
    assert not Path(config["folder"]).exists()


def test_killed_anywhere_and_resumed_equals_uninterrupted(config, runs):
    config = runs.having(config, runtime__steps=60, runtime__save_every=3, runtime__valid_every=7)
    one = train(runs.having(config, runtime__log_every=1))
    two = runs.having(config, folder=config["folder"] + "2")
    after = int.from_bytes(os.urandom(2)) % 45 + 4
    told = runs.having(two, runtime__log_every=1)
    child = multiprocessing.get_context("fork").Process(target=train, args=(told,))
    child.start()
    assert child.pid is not None
    _send(Path(two["folder"]), after, signal.SIGKILL, child.pid)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    cut = runs.state(two["folder"])["step"]
    assert cut < 60, f"killed after {after}, too late"
    train(runs.having(two, resume=True, runtime__log_every=1))
    runs.same(runs.state(one), runs.state(two["folder"]), f"killed after {after}")
    assert [line["step"] for line in runs.lines(two["folder"], "train")] == list(range(1, 61))
    for a, b in zip(runs.lines(one, "train"), runs.lines(two["folder"], "train"), strict=True):
        assert a["loss"] == b["loss"], (a["step"], after)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_orderly_end(config, how, capfd, runs):
    long = runs.having(config, runtime__steps=100000, runtime__save_every=100000)
    interrupted(runs, long, after=3, how=how)
    said = " ".join(capfd.readouterr().err.split())
    assert f"because {how.name} was received; resume=true goes on" in said
    assert runs.state(config["folder"])["step"] >= 3
    Codec.from_pretrained(Path(config["folder"]) / "codec")


def test_time_is_up(config, runs):
    folder = train(runs.having(config, runtime__steps=10**6, runtime__max_minutes=0.03))
    end = runs.state(folder)
    assert 0 < end["step"] < 10**6
    train(runs.having(config, runtime__steps=end["step"] + 2, resume=True))
    assert runs.state(folder)["step"] == end["step"] + 2


def test_processes_that_load_change_nothing(config, runs):
    one = train(config)
    two = train(runs.having(config, folder=config["folder"] + "2", runtime__workers=2))
    runs.same(runs.state(one), runs.state(two))


def test_resume_without_a_run_begins_one_and_of_a_finished_one_is_at_its_end(config, runs):
    folder = train(runs.having(config, resume=True))
    before = runs.state(folder)
    train(runs.having(config, resume=True))
    runs.same(before, runs.state(folder))


def test_two_processes_are_one(config, tmp_path, runs):
    """By torchrun: with nothing random, as one process with the whole batch; else, as each other."""
    plain = runs.having(
        config,
        folder=str(tmp_path / "plain"),
        model__decoder__jitter=0.0,
        quantizer__revival={"threshold": 0.0},
    )
    wild = runs.having(
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
        runs.same(*ranks)
        assert len(runs.lines(tmp_path / name, "valid")) >= 1
    one = runs.state(train(runs.having(plain, folder=str(tmp_path / "one"))))
    two = runs.state(tmp_path / "plain")
    assert len(two["random"]) == 2
    for part in ("objective", "average"):
        for key, value in one[part].items():
            assert torch.allclose(value.float(), two[part][key].float(), atol=1e-5), key
    judged = [runs.lines(tmp_path / name, "valid") for name in ("one", "plain")]
    for a, b in zip(*judged, strict=True):
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
