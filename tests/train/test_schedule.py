"""The learning rate by step, and which parameters decay."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from speechvq.errors import BadSetting
from speechvq.nets.conv import Conv1d
from speechvq.nets.patch_critic import ActNorm
from speechvq.nets.transformer import Depth, Transformer
from speechvq.quantize import Learning, ResidualQuantizer
from speechvq.train.schedule import Optimiser, set_rate


def test_warm_up_then_half_a_cosine():
    settings = Optimiser(warmup=4, final=0.1)
    shares = [settings.share(step, 104) for step in range(110)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[54] == pytest.approx(0.1 + 0.9 / 2)
    assert shares[104:] == pytest.approx([0.1] * 6)
    assert all(a > b for a, b in zip(shares[4:104], shares[5:105], strict=True))
    assert Optimiser(warmup=0).share(0, 1) == 1


def decays(part: nn.Module) -> dict[str, float]:
    names = {p: name for name, p in part.named_parameters()}
    made = Optimiser(weight_decay=0.1).build(part)
    return {names[p]: g["weight_decay"] for g in made.param_groups for p in g["params"]}


def test_weights_decay_and_frozen_ones_do_not_learn():
    both = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)])
    made = Optimiser(lr=0.5, weight_decay=0.1).build(both)
    assert [g["weight_decay"] for g in made.param_groups] == [0.1, 0]
    assert [p.shape for g in made.param_groups for p in g["params"]] == [torch.Size([2, 3]), torch.Size([2])]
    set_rate(made, 0.5)
    assert [g["lr"] for g in made.param_groups] == [0.25, 0.25]
    set_rate(made, 0.5)
    assert [g["lr"] for g in made.param_groups] == [0.25, 0.25]


def test_embeddings_norms_positions_and_codebooks_do_not_decay():
    learned = Learning(by="gradient")
    parts = {
        "enter": nn.Embedding(5, 8),
        "net": Transformer(Depth(layers=1, width=8, heads=2, reach=9, positions="learned")),
        "norm": nn.GroupNorm(2, 8),
        "act": ActNorm(3),
        "conv": Conv1d(8, 8, 3),
        "recurrent": nn.GRU(8, 4),
        "codes": ResidualQuantizer(8, 5, 2, learning=learned),
        "normed": weight_norm(nn.Linear(8, 2)),
    }
    found = decays(nn.ModuleDict(parts))
    assert len(found) == sum(1 for part in parts.values() for _ in part.parameters())
    assert sorted(name for name, decay in found.items() if decay) == sorted(
        [f"net.blocks.0.{name}.weight" for name in ("look", "bring", "widen", "narrow")]
        + ["conv.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0"]
        + ["normed.parametrizations.weight.original0", "normed.parametrizations.weight.original1"]
    )


@pytest.mark.parametrize("bias", [True, False])
def test_a_run_of_before_goes_on_as_it_began(bias):
    """Its groups were by dimension, so that embeddings decayed; state and decay come back in that order."""

    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3, bias=bias), nn.Linear(3, 5, bias=bias))

    def steps(part: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        for _ in range(3):
            part(torch.randint(5, (7,), generator=draw)).square().sum().backward()
            set_rate(optimiser, 0.7)
            optimiser.step()
            optimiser.zero_grad()

    settings, one, two = Optimiser(lr=0.1, weight_decay=0.3), made(), made()
    kinds = [[p for p in one.parameters() if (p.dim() > 1) == wanted] for wanted in (True, False)]
    groups = [{"params": some, "weight_decay": 0.3 * (i == 0)} for i, some in enumerate(kinds) if some]
    before = torch.optim.AdamW(groups, lr=0.1, betas=settings.betas, fused=True)
    for group in before.param_groups:
        group["base"] = 0.1
    steps(one, before, 1)
    two.load_state_dict(one.state_dict())
    after = settings.build(two)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    steps(one, before, 2)
    steps(two, after, 2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [g["weight_decay"] for g in after.param_groups] == [0.3, 0.0][: 1 + bias]
    again = settings.build(made())
    again.load_state_dict(settings.build(made()).state_dict())
    assert [len(g["params"]) for g in again.param_groups] == [2, 1 + 2 * bias]


@pytest.mark.parametrize(
    "wrong", [{"lr": 0}, {"betas": (0.9, 1.0)}, {"clip": -1}, {"final": 2}, {"accumulate": 0}, {"warmup": -1}]
)
def test_what_cannot_be(wrong):
    with pytest.raises(BadSetting, match="must be"):
        Optimiser(**wrong)
    assert math.isfinite(Optimiser().share(10**9, 1))
