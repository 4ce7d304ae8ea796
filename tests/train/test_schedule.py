"""The learning rate by step, and which parameters decay."""

import math

import pytest
import torch
from torch import nn

from speechvq.errors import BadSetting
from speechvq.train.schedule import Optimiser, set_rate


def test_warm_up_then_half_a_cosine():
    settings = Optimiser(warmup=4, final=0.1)
    shares = [settings.share(step, 104) for step in range(110)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[54] == pytest.approx(0.1 + 0.9 / 2)
    assert shares[104:] == pytest.approx([0.1] * 6)
    assert all(a > b for a, b in zip(shares[4:104], shares[5:105], strict=True))
    assert Optimiser(warmup=0).share(0, 1) == 1


def test_vectors_do_not_decay_and_frozen_ones_do_not_learn():
    layer = nn.Linear(3, 2)
    frozen = nn.Linear(3, 2).requires_grad_(False)
    made = Optimiser(lr=0.5, weight_decay=0.1).build([*layer.parameters(), *frozen.parameters()])
    assert [g["weight_decay"] for g in made.param_groups] == [0.1, 0]
    assert [p.shape for g in made.param_groups for p in g["params"]] == [torch.Size([2, 3]), torch.Size([2])]
    set_rate(made, 0.5)
    assert [g["lr"] for g in made.param_groups] == [0.25, 0.25]
    set_rate(made, 0.5)
    assert [g["lr"] for g in made.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize(
    "wrong", [{"lr": 0}, {"betas": (0.9, 1.0)}, {"clip": -1}, {"final": 2}, {"accumulate": 0}, {"warmup": -1}]
)
def test_what_cannot_be(wrong):
    with pytest.raises(BadSetting, match="must be"):
        Optimiser(**wrong)
    assert math.isfinite(Optimiser().share(10**9, 1))
