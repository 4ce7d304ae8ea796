"""Draws among many categories, beside those that sort them."""

import numpy as np
import pytest
import torch

from speechvq.nets.sampling import Sampling, sample
from speechvq.prior import residual_draw
from speechvq.prior.residual_draw import draw

WAYS = [
    Sampling(),
    Sampling(0.7),
    Sampling(0),
    Sampling(top_k=1),
    Sampling(top_k=30),
    Sampling(top_p=0.9),
    Sampling(top_p=0.05),
    Sampling(0.8, top_k=100, top_p=0.6),
    Sampling(top_k=10**6, top_p=1 - 1e-9),
]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_draw, "FEW", 0)


@pytest.mark.parametrize("sampling", WAYS)
@pytest.mark.parametrize("size", [3, 128, 1000])
@pytest.mark.parametrize("alike", [1, 3])
def test_what_is_drawn_is_what_sorting_draws(sampling: Sampling, size: int, alike: int):
    logits = 3 * torch.randn(64, -(-size // alike)).repeat_interleave(alike, 1)[:, torch.randperm(size)]
    logits[:, ::5] = -torch.inf
    uniforms = torch.rand(64, dtype=torch.float64)
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-53])
    # In single precision, so now and then a number at an edge falls on its other side.
    assert (draw(logits, sampling, uniforms) != sample(logits, sampling, uniforms)).sum() <= 1


def frequencies(chances: list[float], sampling: Sampling) -> list[float]:
    count = 10_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = draw(torch.tensor(chances).log().expand(count, -1), sampling, uniforms)
    return (torch.bincount(drawn, minlength=len(chances)) / count).tolist()


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.5, [1, 0, 0, 0]), (0.6, [2 / 3, 1 / 3, 0, 0]), (0.75, [2 / 3, 1 / 3, 0, 0])]
)
def test_a_nucleus_holds_the_category_that_crosses_the_edge(top_p: float, kept: list[float]):
    chances = [0.5, 0.25, 0.15, 0.1]
    assert frequencies(chances, Sampling(top_p=top_p)) == pytest.approx(kept, abs=2e-4)
    assert frequencies(chances, Sampling(top_p=1.0)) == pytest.approx(chances, abs=2e-4)


def test_all_that_are_as_likely_as_the_kth_are_kept_but_a_nucleus_stops():
    third = 1 / 3
    assert frequencies([1, 1, 1, 0.1], Sampling(top_k=2)) == pytest.approx([third, third, third, 0], abs=2e-4)
    assert frequencies([1, 1, 1, 1], Sampling(top_p=0.5)) == pytest.approx([0.5, 0.5, 0, 0], abs=2e-4)
    assert frequencies([1, 4, 1, 1], Sampling(top_p=0.6)) == pytest.approx([0.2, 0.8, 0, 0], abs=2e-4)


def test_few_are_drawn_from_as_everywhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(residual_draw, "FEW", 4096)
    logits, uniforms = torch.randn(4, 1000), torch.rand(4, dtype=torch.float64)
    for sampling in WAYS:
        assert torch.equal(draw(logits, sampling, uniforms), sample(logits, sampling, uniforms))
    assert draw(torch.zeros(0, 9), Sampling(), torch.zeros(0, dtype=torch.float64)).shape == (0,)


def test_what_has_no_chance_is_not_drawn_where_sums_are_rounded():
    """(1e-12 + 1) - 1 is more than 1e-12: what lies between seems to be before its block."""
    chances = np.zeros((1, 2 * residual_draw.BLOCK), dtype=np.float32)
    chances[0, 3], chances[0, residual_draw.BLOCK + 5] = 1e-12, 1
    small, whole = np.float64(chances[0, 3]), np.float64(chances[0, 3]) + 1
    assert whole - 1 > small
    for share in np.linspace(small, whole - 1, 9) / whole:
        drawn = residual_draw._passed(chances, np.array([share]))[0]
        assert chances[0, drawn] > 0
