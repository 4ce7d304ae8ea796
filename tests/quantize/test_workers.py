"""Two processes that talk over gloo, each with its part of the batch, against one with all of it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_workers.py")
NAMES = list(runpy.run_path(str(SCRIPT))["SCENARIOS"])
REVIVING = [name for name in NAMES if "revival" in name]
BY_CHANCE = [name for name in NAMES if "dropout" in name or "drawn" in name]
EQUAL = [name for name in NAMES if name not in REVIVING + BY_CHANCE]


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


@pytest.mark.parametrize("name", NAMES)
def test_both_workers_hold_the_same(found, name):
    first, second = found[0][name], found[1][name]
    for key, value in first["state"].items():
        assert torch.equal(value, second["state"][key]), key
    for key, value in first["stats"].items():
        assert torch.equal(value, second["stats"][key]), key


@pytest.mark.parametrize("name", EQUAL)
def test_two_halves_are_the_whole(found, name):
    first, alone = found[0][name], found[2][name]
    torch.testing.assert_close(first["state"], alone["state"], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(first["stats"], alone["stats"], atol=2e-6, rtol=1e-5)


def test_every_scenario_learns(found):
    """The state is not that of the start, so that equality says something."""
    for name in NAMES:
        assert found[0][name]["moved"] > 1e-4, name


@pytest.mark.parametrize("name", REVIVING)
def test_revival_is_alike_with_other_draws(found, name):
    """As many die; each takes a vector of the joint batch, though not the one a single process draws."""
    first, alone = found[0][name], found[2][name]
    assert first["stats"]["counts"].sum() == alone["stats"]["counts"].sum()
    assert first["state"].keys() == alone["state"].keys()
    fresh = [v == 1 for k, v in first["state"].items() if k.endswith("use")]
    assert any(bool(f.any()) for f in fresh)
    assert all(v.isfinite().all() for v in first["state"].values())


def test_revived_codes_come_from_both_workers(found):
    """One step's revived codes, counted over the vectors of the last joint batch."""
    script = runpy.run_path(str(SCRIPT))
    name = "vector-revival"
    z = list(script["batches"](name))[-1][0]
    state = found[0][name]["state"]
    fresh = state["codebook.vectors"][state["codebook.use"] == 1]
    rows = z.movedim(1, -1)
    halves = [
        torch.cdist(fresh, half.reshape(-1, script["DIM"])).min(1).values < 1e-6 for half in rows.split(2)
    ]
    assert (halves[0] | halves[1]).all()
    assert halves[0].any()
    assert halves[1].any()
