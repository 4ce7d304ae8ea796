"""Likelihoods: the numbers of the discretised mixture, its masses, its draws, and masks."""

import math

import pytest
import torch

from speechvq.losses.likelihood import (
    categorical_nll,
    gaussian_log_mass,
    grid_levels,
    grid_values,
    logistics_nll,
    masked_mean,
    sample_logistics,
)


def one(mean: float, log_scale: float) -> torch.Tensor:
    return torch.tensor([0.0, mean, log_scale]).view(1, 3, 1)


def test_one_logistic_at_its_mean():
    nll = logistics_nll(one(0, -2), torch.zeros(1, 1), levels=256)
    assert nll.item() == pytest.approx(4.2344806930, abs=1e-6)
    half_width = math.exp(2) / 255
    assert nll.item() == pytest.approx(-math.log(2 / (1 + math.exp(-half_width)) - 1), abs=1e-6)


def test_two_logistics_and_both_edges():
    parameters = torch.tensor([0, 1, 0.1, -0.2, -3, -2]).view(1, 6, 1).expand(1, 6, 4)
    nll = logistics_nll(parameters, torch.tensor([[-1, 0, 0.1, 1]]), levels=256)
    assert nll[0].tolist() == pytest.approx([6.1983144, 4.5254983, 4.2446652, 9.1512588], abs=2e-6)


@pytest.mark.parametrize("levels", [256, 65536])
@pytest.mark.parametrize(
    ("mean", "log_scale"),
    [
        (0, -2),
        (0.3, 0),
        (0.9995, -7),
        (-0.9999, -9),
        (1.4, -3),
        (-1, -12),
        (0.1234567, -12),
        (0, 3),
        (0.5, -30),
    ],
)
def test_masses_of_all_bins_sum_to_one(levels: int, mean: float, log_scale: float):
    values = grid_values(torch.arange(levels), levels=levels)[None]
    nll = logistics_nll(one(mean, log_scale).expand(1, 3, levels), values, levels=levels)
    assert nll.neg().double().exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_far_tails_keep_a_finite_likelihood_and_gradient():
    parameters = torch.tensor([[0.0, 1.0, 0.9, -0.9, -11.0, -11.0]]).view(1, 6, 1).requires_grad_()
    nll = logistics_nll(parameters, torch.zeros(1, 1), levels=65536)
    nll.sum().backward()
    assert nll.isfinite().all()
    assert nll.item() > 1e4
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


def test_the_gradient_is_that_of_the_formula():
    parameters = (0.3 * torch.randn(2, 6, 3, dtype=torch.float64)).requires_grad_()
    target = grid_values(torch.tensor([[0, 100, 255], [3, 128, 254]]), levels=256)
    logits, means, scales = parameters.chunk(3, dim=1)
    edges = [(target[:, None] + sign / 255 - means) / scales.exp() for sign in (1, -1)]
    lower = torch.where(target[:, None] == -1, 0, edges[1].sigmoid())
    upper = torch.where(target[:, None] == 1, 1, edges[0].sigmoid())
    plain = -(logits.softmax(1) * (upper - lower)).sum(1).log().sum()
    ours = logistics_nll(parameters, target, levels=256).sum()
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    expected, made = (torch.autograd.grad(loss, parameters)[0] for loss in (plain, ours))
    assert torch.allclose(expected, made, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("levels", [2, 256, 65536])
@pytest.mark.parametrize(
    ("mean", "log_scale"),
    [(0, -2), (0.3, 0), (0.9995, -7), (-0.9999, -9), (1.4, -3), (-1, -12), (0.1234567, -12), (0, 3), (-3, 0)],
)
def test_gaussian_masses_of_all_bins_sum_to_one(levels: int, mean: float, log_scale: float):
    values = grid_values(torch.arange(levels), levels=levels)
    mass = gaussian_log_mass(values, *torch.tensor([mean, log_scale]).double(), levels=levels).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)


def test_gaussian_masses_are_differences_of_the_distribution_function():
    means, log_scales = torch.rand(2, 500, dtype=torch.float64) * 2 - 1
    target = grid_values(torch.randint(256, (500,)), levels=256)
    normal = torch.distributions.Normal(means, log_scales.exp())
    lower = torch.where(target == -1, 0, normal.cdf(target - 1 / 255))
    upper = torch.where(target == 1, 1, normal.cdf(target + 1 / 255))
    mass = gaussian_log_mass(target, means, log_scales, levels=256).exp()
    assert torch.allclose(mass, upper - lower, rtol=1e-9, atol=1e-14)
    narrow = gaussian_log_mass(target.float(), means.float(), log_scales.float(), levels=256).exp()
    assert torch.allclose(narrow.double(), mass, rtol=1e-3)


def test_gaussian_tails_keep_a_finite_likelihood_and_the_right_gradient():
    far = torch.tensor([0.9, -0.9, 0.0]).requires_grad_()
    for target in (-1.0, 0.0, 1.0):
        mass = gaussian_log_mass(torch.tensor(target), far, torch.tensor(-7.0), levels=256)
        (gradient,) = torch.autograd.grad(mass.sum(), far)
        assert mass.isfinite().all()
        assert gradient.isfinite().all()
        assert ((target - far.detach()) * gradient >= 0).all()
    assert mass.min() < -1e5
    inputs = (2 * torch.rand(2, 20, dtype=torch.float64) - 1).requires_grad_()
    target = grid_values(torch.randint(256, (20,)), levels=256)
    torch.autograd.gradcheck(lambda x: gaussian_log_mass(target, x[0], x[1] - 2, levels=256), inputs)


def test_draws_follow_the_likelihood():
    parameters = torch.tensor([[0.0, 0.2, -2.0]]).expand(20_000, 3)
    even = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    drawn = sample_logistics(parameters, torch.zeros(20_000, dtype=torch.int64), even, levels=16)
    seen = torch.bincount(grid_levels(drawn, levels=16), minlength=16) / 20_000
    values = grid_values(torch.arange(16), levels=16)[None]
    masses = logistics_nll(one(0.2, -2).expand(1, 3, 16), values, levels=16).neg().exp()[0]
    assert (seen - masses).abs().max() < 2e-4


def test_a_draw_without_temperature_is_the_component_mean():
    parameters = torch.tensor([[0.0, 0, 0.25, -0.5, 0, 0]])
    drawn = [
        sample_logistics(parameters, torch.tensor([c]), torch.tensor([0.99]), levels=65536, temperature=0)
        for c in (0, 1)
    ]
    assert [d.item() for d in drawn] == pytest.approx([0.25, -0.5], abs=1e-4)
    wide = sample_logistics(torch.tensor([[0.0, 0, 5]]), torch.tensor([0]), torch.tensor([1.0]), levels=65536)
    assert wide.item() == 1


def test_grid_round_trip():
    steps = torch.arange(65536)
    assert torch.equal(grid_levels(grid_values(steps, levels=65536).float(), levels=65536), steps)


def test_uniform_categories_cost_log_of_their_number():
    nll = categorical_nll(torch.zeros(2, 256, 5), torch.zeros(2, 5, dtype=torch.int64))
    assert nll.shape == (2, 5)
    assert nll[0, 0].item() == pytest.approx(math.log(256))


def test_masked_places_do_not_count_whatever_they_hold():
    values = torch.tensor([[1.0, 2.0, torch.nan], [6.0, torch.inf, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).item() == 3
    assert masked_mean(torch.tensor([1.0, 3.0])).item() == 2
    assert masked_mean(values, torch.zeros_like(mask)).item() == 0
