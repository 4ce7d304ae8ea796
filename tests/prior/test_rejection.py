"""The best of many, beside a sorted list."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.prior.rejection import best_of


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.data())
def test_the_best_come_first(scores: list[int], data):
    keep = data.draw(st.integers(1, len(scores)))
    made = torch.arange(len(scores) * 6).view(-1, 2, 3)
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:keep]
    assert torch.equal(best_of(made, torch.tensor(scores).float(), keep), made[best])


def test_groups_are_thinned_out_one_by_one():
    made, scores = torch.randn(2, 3, 5, 4), torch.rand(2, 3, 5)
    kept = best_of(made, scores, 2)
    assert kept.shape == (2, 3, 2, 4)
    for i in range(2):
        for j in range(3):
            assert torch.equal(kept[i, j], best_of(made[i, j], scores[i, j], 2))


def test_what_is_no_number_comes_last():
    scores = torch.tensor([math.nan, -5.0, math.inf])
    assert best_of(torch.arange(3), scores, 3).tolist() == [2, 1, 0]


def test_too_many_and_too_few_are_sentences():
    with pytest.raises(BadSetting, match="best 4 of 3"):
        best_of(torch.zeros(3, 2), torch.zeros(3), 4)
    with pytest.raises(BadSetting, match="best 0 of 3"):
        best_of(torch.zeros(3, 2), torch.zeros(3), 0)
    with pytest.raises(BadSetting, match="do not belong"):
        best_of(torch.zeros(3, 2), torch.zeros(2), 1)
