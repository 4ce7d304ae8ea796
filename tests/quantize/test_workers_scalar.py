"""FSQ, LFQ and Gumbel in two processes over gloo, against one process with the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_workers_scalar.py")
LFQS = ["lfq", "lfq-projected", "lfq-masked", "lfq-uneven", "lfq-one-idle"]
GUMBELS = ["gumbel", "gumbel-masked"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(worker 0, worker 1, the single process): what each scenario came to."""
    folder = tmp_path_factory.mktemp("workers")
    jobs = {"a": (0, 2), "b": (1, 2), "alone": (0, 1)}
    running = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(world), folder / "store", folder / f"{name}.pt"],
            cwd=SCRIPT.parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (rank, world) in jobs.items()
    ]
    for process in running:
        _, complaints = process.communicate(timeout=500)
        assert process.returncode == 0, complaints
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in jobs]


@pytest.mark.parametrize("name", ["fsq", *LFQS, *GUMBELS])
def test_both_workers_hold_the_same(found, name):
    first, second = found[0][name], found[1][name]
    for part in ("state", "stats"):
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), key
    assert first["losses"] == second["losses"]


@pytest.mark.parametrize("name", ["fsq", *LFQS, *GUMBELS])
def test_two_halves_are_the_whole(found, name):
    """The weights after two steps of gradients averaged over the workers, the losses and the figures."""
    first, alone = found[0][name], found[2][name]
    torch.testing.assert_close(first["state"], alone["state"], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(first["losses"], alone["losses"], atol=2e-6, rtol=1e-5)
    if name in GUMBELS:  # the draws are others, but as many
        assert first["stats"]["counts"].sum() == alone["stats"]["counts"].sum()
    else:
        torch.testing.assert_close(first["stats"], alone["stats"], atol=2e-6, rtol=1e-5)
