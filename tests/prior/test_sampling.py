"""Steering beside the same rules by loops; top-k and top-p beside lists."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling, sample
from speechvq.prior.sampling import Steering, guide, steer


def slowly(logits: list[float], past: list[int], rules: Steering) -> list[float]:
    """`steer` for one row, by loops."""
    logits = list(logits)
    for code in set(past[max(0, len(past) - rules.window) :]):
        logits[code] -= math.log(rules.penalty)
    bars = []
    if rules.max_run and len(past) >= rules.max_run and len(set(past[-rules.max_run :])) == 1:
        bars.append({past[-1]})
    if rules.no_repeat:
        n = rules.no_repeat
        seen = [tuple(past[i : i + n]) for i in range(len(past) - n + 1)]
        bars.append(
            {c for c in range(len(logits)) if (*past[len(past) - n + 1 :], c)[-n:] in seen} if seen else set()
        )
    for forbidden in bars:
        barred = [-math.inf if i in forbidden else x for i, x in enumerate(logits)]
        logits = barred if max(barred) > -math.inf else logits
    return logits


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 14), st.sampled_from([0.5, 1.0, 1.7]), st.integers(0, 6),
    st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**31),
)  # fmt: skip
def test_steering_is_its_rules_by_loops(
    size: int, length: int, penalty: float, window: int, run: int, n: int, seed: int
):
    torch.manual_seed(seed)
    rules = Steering(penalty=penalty, window=window, max_run=run, no_repeat=n)
    logits, past = torch.randn(3, size, dtype=torch.float64), torch.randint(size, (3, length))
    steered = steer(logits, past, rules)
    for row in range(3):
        expected = slowly(logits[row].tolist(), past[row].tolist(), rules)
        assert steered[row].tolist() == pytest.approx(expected, abs=1e-12)


def test_no_steering_changes_nothing():
    logits = torch.randn(2, 5)
    assert torch.equal(steer(logits, torch.randint(5, (2, 9)), Steering()), logits)


def test_a_penalty_divides_the_odds_whatever_is_added_to_the_logits():
    logits, past = torch.randn(1, 6), torch.tensor([[2, 4]])
    before = logits.softmax(1)[0]
    for shift in (0.0, 30.0, -30.0):
        after = steer(logits + shift, past, Steering(penalty=3.0)).softmax(1)[0]
        odds = [(after[c] / after[0]) / (before[c] / before[0]) for c in range(6)]
        assert odds == pytest.approx([1, 1, 1 / 3, 1, 1 / 3, 1], rel=1e-4)


def test_guidance_moves_from_ignorance_to_the_condition_and_beyond():
    known, unknown = torch.randn(2, 3, 5)
    assert torch.equal(guide(known, unknown, 0), unknown)
    assert torch.allclose(guide(known, unknown, 1), known, atol=1e-6)
    beyond = guide(known, unknown, 3).double().softmax(1)
    chances = known.double().softmax(1) ** 3 / unknown.double().softmax(1) ** 2
    assert torch.allclose(beyond, chances / chances.sum(1, keepdim=True), atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 9),
    st.sampled_from([0.2, 0.5, 0.9, 1.0]),
    st.sampled_from([0.5, 1.0, 2.0]), st.floats(0, 0.999),
)  # fmt: skip
def test_drawing_is_a_walk_along_a_list(
    logits: list[int], k: int, p: float, temperature: float, uniform: float
):
    """Ties at the k-th value all stay; the code that crosses p stays."""
    scaled = [x / temperature for x in logits]
    least = sorted(scaled, reverse=True)[k - 1] if 0 < k < len(scaled) else -math.inf
    chances = [math.exp(x) if x >= least else 0.0 for x in scaled]
    chances = [c / sum(chances) for c in chances]
    held, kept = 0.0, set()
    for place in sorted(range(len(chances)), key=lambda i: -chances[i]):
        if held < p - 1e-12 or p == 1:
            kept.add(place)
        held += chances[place]
    reached = uniform * sum(chances[i] for i in kept)
    allowed, walked = set(), 0.0
    for place in sorted(kept):
        if walked - 1e-9 <= reached <= walked + chances[place] + 1e-9 and chances[place]:
            allowed.add(place)
        walked += chances[place]
    drawn = sample(
        torch.tensor([logits]).double(), Sampling(temperature, k, p), torch.tensor([uniform]).double()
    )
    if abs(min((abs(x - p) for x in _sums(chances)), default=1)) > 1e-9 or p == 1:
        assert int(drawn) in allowed


def _sums(chances: list[float]) -> list[float]:
    total, sums = 0.0, []
    for chance in sorted(chances, reverse=True):
        total += chance
        sums.append(total)
    return sums


@pytest.mark.parametrize(
    "wrong",
    [
        {"guidance": -1},
        {"guidance": math.nan},
        {"penalty": 0},
        {"window": -1},
        {"max_run": -1},
        {"no_repeat": -2},
    ],
)
def test_wrong_settings_are_sentences(wrong: dict):
    with pytest.raises(BadSetting):
        Steering(**wrong)
