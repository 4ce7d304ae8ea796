"""The adaptive weight: a ratio of norms, indifferent to the game's scale, that learns nothing itself."""

import pytest
import torch

from speechvq.losses.adaptive import adaptive_weight


def losses(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    last = torch.randn(3, 4, 3, 3, requires_grad=True)
    out = torch.nn.functional.conv2d(torch.randn(2, 4, 8, 8), last)
    return out.abs().mean(), scale * out.square().mean(), last


def test_it_is_the_ratio_of_norms():
    own, game, last = losses()
    weight = adaptive_weight(own, game, last)
    a, b = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (own, game))
    assert weight.item() == pytest.approx(a.norm().item() / (b.norm().item() + 1e-4), rel=1e-5)
    assert not weight.requires_grad
    (own + weight * game).backward()
    assert last.grad is not None


def test_the_scale_of_the_game_is_evened_out():
    weighed = []
    for scale in (1.0, 1000.0):
        own, game, last = losses(scale)
        weighed.append((adaptive_weight(own, game, last) * game).item())
    assert weighed[0] == pytest.approx(weighed[1], rel=1e-3)


def test_a_game_without_gradient_weighs_at_most_ten_thousand():
    own, _, last = losses()
    nothing = (last * 0).sum()
    norm = torch.autograd.grad(own, last, retain_graph=True)[0].norm().item()
    assert adaptive_weight(own, nothing, last).item() == pytest.approx(min(norm / 1e-4, 1e4), rel=1e-4)
    assert adaptive_weight(1e9 * own, nothing, last).item() == 1e4


def test_where_nothing_learns_it_is_zero():
    own, game, last = losses()
    with torch.no_grad():
        assert adaptive_weight(own, game, last) == 0
    assert adaptive_weight(own, game, last.detach()) == 0
