"""Batch normalisation of two workers, each with its part of the batch, against torch's with all of it."""

import runpy
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from speechvq.quantize.batch_norm import BatchNorm

SCRIPT = Path(__file__).with_name("two_workers_norm.py")


def test_uneven_halves_are_the_whole(tmp_path):
    jobs = {"a": (0, 2), "b": (1, 2), "alone": (0, 1)}
    running = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(world), tmp_path / "store", tmp_path / f"{name}.pt"],
            cwd=SCRIPT.parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (rank, world) in jobs.items()
    ]
    for process in running:
        _, complaints = process.communicate(timeout=200)
        assert process.returncode == 0, complaints
    workers = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in jobs]
    for name in runpy.run_path(str(SCRIPT))["ENCODERS"]:
        _same(name, *(found[name] for found in workers))


def _same(name, first, second, alone):
    """Outputs, weights and statistics; all of them were changed by the steps."""
    made = torch.cat([first.pop("made"), second.pop("made")])
    torch.testing.assert_close(made, alone.pop("made"), atol=2e-4, rtol=1e-4)
    for key, value in alone.items():
        torch.testing.assert_close(first[key], second[key], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(first[key], value, atol=2e-4, rtol=1e-4)
    begun = runpy.run_path(str(SCRIPT))["model"](name, 2).state_dict()
    moved = {key: float((alone[key] - value).abs().sum()) for key, value in begun.items()}
    assert all(moved[key] > 1e-3 for key, value in begun.items() if value.dim() > 2 or "running" in key)


def test_alone_it_is_torchs():
    torch.manual_seed(0)
    for twin in (nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False)):
        own = BatchNorm(3, affine=twin.affine)
        x = torch.randn(4, 3, *[5] * (1 if isinstance(twin, nn.BatchNorm1d) else 2))
        assert torch.equal(own(x), twin(x))
        assert torch.equal(own.running_var, twin.running_var)
        assert torch.equal(own.eval()(x), twin.eval()(x))
