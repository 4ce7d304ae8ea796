"""Drawing from logits: temperature, top-k, top-p, and streams of uniform numbers."""

import itertools
import math

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets import sampling as module
from speechvq.nets.sampling import Sampling, Uniforms, sample

LOGITS = torch.tensor([0.5, 0.2, 0.05, 0.25]).log()
EVEN = (torch.arange(10_000) + 0.5) / 10_000


def frequencies(sampling: Sampling) -> list[float]:
    drawn = sample(LOGITS.expand(10_000, 4), sampling, EVEN)
    return (torch.bincount(drawn, minlength=4) / 10_000).tolist()


def test_plain_draws_follow_the_probabilities():
    assert frequencies(Sampling()) == pytest.approx([0.5, 0.2, 0.05, 0.25], abs=2e-4)


def test_temperature_sharpens_and_zero_takes_the_likeliest():
    squares = torch.tensor([0.25, 0.04, 0.0025, 0.0625])
    assert frequencies(Sampling(temperature=0.5)) == pytest.approx(
        (squares / squares.sum()).tolist(), abs=2e-4
    )
    assert frequencies(Sampling(temperature=0)) == [1, 0, 0, 0]
    assert frequencies(Sampling(temperature=1e6)) == pytest.approx([0.25] * 4, abs=2e-4)


def test_top_k_keeps_k_and_renormalises():
    assert frequencies(Sampling(top_k=2)) == pytest.approx([2 / 3, 0, 0, 1 / 3], abs=2e-4)
    assert frequencies(Sampling(top_k=1)) == [1, 0, 0, 0]
    assert frequencies(Sampling(top_k=9)) == frequencies(Sampling())


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, [1, 0, 0, 0]), (0.6, [2 / 3, 0, 0, 1 / 3]), (0.94, [10 / 19, 4 / 19, 0, 5 / 19])],
)
def test_top_p_keeps_the_smallest_set_that_holds_p(top_p: float, kept: list[float]):
    assert frequencies(Sampling(top_p=top_p)) == pytest.approx(kept, abs=2e-4)


def slowly(logits: list[float], sampling: Sampling, uniform: float) -> int:
    """One draw, category by category."""
    places = range(len(logits))
    falling = sorted(places, key=lambda q: -logits[q])  # of equal ones the first is first
    least = logits[falling[min(sampling.top_k or len(logits), len(logits)) - 1]]
    chances = [math.exp((x - max(logits)) / sampling.temperature) * (x >= least) for x in logits]
    total, held = sum(chances), 0.0
    for q in falling:
        if held >= sampling.top_p * total:
            chances[q] = 0.0
        held += chances[q]
    reached, upto = uniform * sum(chances), list(itertools.accumulate(chances))
    return next((q for q in places if upto[q] > reached), max(q for q in places if chances[q]))


WAYS = [
    Sampling(),
    Sampling(0.7),
    Sampling(top_k=1),
    Sampling(top_k=30),
    Sampling(top_p=0.9),
    Sampling(top_p=0.05),
    Sampling(top_p=1e-20),
    Sampling(0.8, top_k=100, top_p=0.6),
    Sampling(top_k=10**6, top_p=1 - 1e-9),
]


@pytest.mark.parametrize("sampling", WAYS)
@pytest.mark.parametrize("size", [3, 128, 300])
@pytest.mark.parametrize("alike", [1, 3])
@pytest.mark.parametrize("sorting", [False, True])
def test_draws_are_those_made_category_by_category(
    sampling: Sampling, size: int, alike: int, sorting: bool, monkeypatch: pytest.MonkeyPatch
):
    if sorting:  # as on a GPU
        monkeypatch.setattr(module, "_sample_among_few", lambda *_: None)
    torch.manual_seed(torch.seed())
    logits = 3 * torch.randn(32, -(-size // alike)).repeat_interleave(alike, 1)[:, torch.randperm(size)]
    logits[:, ::5] = -torch.inf
    uniforms = torch.rand(32, dtype=torch.float64)
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-53])
    drawn = sample(logits, sampling, uniforms).tolist()
    pairs = zip(logits.tolist(), uniforms.tolist(), strict=True)
    # In single precision, so now and then a number at an edge falls on its other side.
    assert sum(slowly(row, sampling, u) != q for q, (row, u) in zip(drawn, pairs, strict=True)) <= 1


def test_all_that_are_as_likely_as_the_kth_are_kept_but_a_nucleus_stops():
    logits, ends = torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]).log().expand(1000, 6), EVEN[::10]
    kept = {
        Sampling(top_k=2): range(6),
        Sampling(top_p=0.55): [0, 1],
        Sampling(top_k=2, top_p=0.65): [0, 1, 2],
    }
    for sampling, expected in kept.items():
        assert sample(logits, sampling, ends).unique().tolist() == list(expected)


def test_nothing_is_sorted_again_unless_others_are_as_likely_as_the_last(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(module, "_nucleus", lambda *_: calls.append(1) or 1)
    uniforms = torch.rand(1, dtype=torch.float64)
    sample(torch.tensor([[2.0, 1, 0, -1]]), Sampling(top_k=3, top_p=0.8), uniforms)
    sample(torch.tensor([[2.0, 1, 1, -1]]), Sampling(top_k=2, top_p=0.3), uniforms)
    assert not calls
    sample(torch.tensor([[1.0, 1, 1, 1]]), Sampling(top_p=0.5), uniforms)
    assert calls


def test_a_category_of_no_probability_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]).expand(4, 5)
    ends = torch.tensor([0.0, 0.5, 1 - 2**-53, 1.0], dtype=torch.float64)
    assert sample(logits, Sampling(), ends).tolist() == [1, 3, 3, 3]


def test_any_number_of_leading_dimensions():
    assert sample(torch.zeros(2, 3, 4, 7), Sampling(), torch.rand(2, 3, 4)).shape == (2, 3, 4)


def test_uniform_streams_belong_to_the_row():
    three, one = Uniforms(5, 3), Uniforms(5, 1)
    first, second = three.draw(4), three.draw(4, rows=2)
    assert first.shape == (3, 4)
    assert second.shape == (2, 4)
    assert torch.equal(torch.cat([first[0], second[0]]), one.draw(8)[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], Uniforms(6, 1).draw(4)[0])


WRONG = [
    {"temperature": -1},
    {"temperature": float("nan")},
    {"top_k": -1},
    {"top_p": 0},
    {"top_p": 2},
    {"seed": -1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_sentences(wrong: dict):
    with pytest.raises(BadSetting):
        Sampling(**wrong)
