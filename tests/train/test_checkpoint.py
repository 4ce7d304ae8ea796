"""Checkpoints: names, how many stay, damage, randomness."""

import os
import random

import numpy as np
import pytest
import torch

from speechvq.errors import BadCheckpoint
from speechvq.train.checkpoint import Checkpoints, random_state, set_random_state, undisturbed


def draws() -> list[float]:
    numbers = [torch.rand(()), torch.randn(()), np.random.rand(), np.random.normal(), random.gauss(0, 1)]
    return [float(number) for number in numbers]


def test_the_newest_stay_beside_latest_and_best(tmp_path):
    kept = Checkpoints(tmp_path / "c", keep=2)
    for step in range(1, 6):
        kept.save({"step": step, "w": torch.full((3,), float(step))}, step, best=step == 2)
    assert [p.name for p in kept.steps()] == ["step-00000004.pt", "step-00000005.pt"]
    assert kept.load()["step"] == 5
    assert kept.load(tmp_path / "c" / "best.pt")["w"].tolist() == [2, 2, 2]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "best.pt", "latest.pt", "step-00000004.pt", "step-00000005.pt",
    ]  # fmt: skip


def test_randomness_comes_back_with_the_file(tmp_path):
    draws()
    kept = Checkpoints(tmp_path)
    kept.save({"random": random_state()}, 1)
    expected = draws()
    draws()
    set_random_state(kept.load()["random"])
    assert draws() == expected


def test_what_draws_inside_is_not_felt_outside():
    before = random_state()
    expected = draws()
    set_random_state(before)
    with undisturbed():
        draws()
        torch.manual_seed(77)
    assert draws() == expected


@pytest.mark.parametrize("damage", ["half", "empty", "text", "other"])
def test_a_damaged_checkpoint_is_a_sentence(tmp_path, damage):
    kept = Checkpoints(tmp_path)
    kept.save({"w": torch.zeros(1000)}, 1)
    whole = kept.latest.read_bytes()
    kept.latest.unlink()
    if damage == "other":
        torch.save({"epoch": 3}, kept.latest)
    else:
        kept.latest.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(BadCheckpoint, match="latest.pt"):
        kept.load()
    assert kept.load(kept.steps()[0])["w"].shape == (1000,)


def test_a_foreign_pickle_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"format": 1, "x": Evil()}, tmp_path / "latest.pt")
    with pytest.raises(BadCheckpoint):
        Checkpoints(tmp_path).load()
    assert not (tmp_path / "ran").exists()


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path):
    kept = Checkpoints(tmp_path / "c")
    kept.save({"step": 1}, 1)
    (tmp_path / "c" / "step-00000002.pt").mkdir()  # stands in the way, as a full disk would
    with pytest.raises(Exception, match="step-00000002"):
        kept.save({"step": 2}, 2)
    assert kept.load()["step"] == 1
    assert not list((tmp_path / "c").glob(".*"))


def test_none_at_all(tmp_path):
    with pytest.raises(BadCheckpoint, match="no checkpoint"):
        Checkpoints(tmp_path).load()
