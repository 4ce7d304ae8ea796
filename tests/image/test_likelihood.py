"""Likelihoods of pictures: masses of all levels sum to one, draws follow them, colours are coupled."""

import itertools

import pytest
import torch

from speechvq.image.likelihood import LIKELIHOODS, Likelihood, Logistics
from speechvq.losses.likelihood import grid_levels, grid_values, logistics_nll

NAMES = {"gaussian": {}, "nmse": {"variance": 0.3}, "logistics": {"mixtures": 3}, "categorical": {}}


def made(name: str, channels: int, **changes: object) -> Likelihood:
    return LIKELIHOODS.build({"name": name, **NAMES[name], **changes}, colours=channels)


def output_of(likelihood: Likelihood, *shape: int, spread: float = 1.0) -> torch.Tensor:
    batch, *places = shape
    return spread * torch.randn(batch, likelihood.width, *places, dtype=torch.float64)


def levels() -> torch.Tensor:
    return grid_values(torch.arange(256), levels=256)


def masses_of_a_pixel(likelihood: Likelihood, output: torch.Tensor) -> torch.Tensor:
    """Of every colour there is, (256 ** channels,), by one pixel's output (1, width, 1, 1)."""
    channels = len(likelihood.mean(output)[0])
    colours = torch.cartesian_prod(*[levels()] * channels).view(256**channels, channels, 1, 1)
    return likelihood.nats(output.expand(len(colours), -1, -1, -1), colours).neg().exp().flatten()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_masses_of_all_levels_of_a_grey_pixel_sum_to_one(name: str, spread: float):
    likelihood = made(name, 1)
    masses = masses_of_a_pixel(likelihood, output_of(likelihood, 1, 1, 1, spread=spread))
    assert masses.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "logistics"])
def test_masses_of_all_colours_of_a_pixel_sum_to_one(name: str):
    likelihood = made(name, 2)
    assert masses_of_a_pixel(likelihood, output_of(likelihood, 1, 1, 1)).sum().item() == pytest.approx(
        1, abs=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_training_precision_is_near_that_of_figures(name: str):
    likelihood = made(name, 3)
    output, picture = output_of(likelihood, 2, 5, 4), torch.rand(2, 3, 5, 4) * 2 - 1
    exact = likelihood.nats(output, picture)
    assert exact.shape == (2, 5, 4)
    assert exact.dtype == torch.float64
    assert torch.allclose(likelihood.nats(output.float(), picture).double(), exact, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "channels"), [("gaussian", 2), ("nmse", 1), ("logistics", 2), ("categorical", 1)]
)
def test_draws_follow_the_masses(name: str, channels: int):
    likelihood = made(name, channels)
    output = output_of(likelihood, 1, 1, 1)
    drawn = likelihood.draw(output.expand(-1, -1, 100, 100), torch.Generator().manual_seed(0))
    steps = grid_levels(drawn, levels=256)
    assert torch.allclose(grid_values(steps, levels=256), drawn)
    coarse = torch.zeros_like(steps[:, 0])  # in four parts along each channel
    for channel in range(channels):
        coarse = 4 * coarse + steps[:, channel] // 64
    seen = torch.bincount(coarse.flatten(), minlength=4**channels) / 10_000
    masses = masses_of_a_pixel(likelihood, output)
    parts = masses.view((4, 64) * channels).sum(tuple(range(1, 2 * channels, 2))).flatten()
    assert (seen - parts).abs().max() < 0.02
    # The entropy of what is drawn is what it costs to be told of it.
    nats = likelihood.nats(output.expand(-1, -1, 100, 100), drawn).mean()
    entropy = -(masses * masses.clamp(min=1e-300).log()).sum()
    assert nats.item() == pytest.approx(entropy.item(), abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_is_that_of_the_draws(name: str):
    likelihood = made(name, 2)
    output = 0.3 * output_of(likelihood, 1, 1, 1)
    if name == "logistics":  # narrow, so that nothing is folded onto the ends of the grid
        output[:, 3 * (1 + 2) : 3 * (1 + 4)] = -3
    elif name in ("gaussian", "nmse"):
        likelihood = made("gaussian", 2, scale=0.1)
        output = output.clamp(-0.5, 0.5)
    drawn = likelihood.draw(output.expand(-1, -1, 80, 80), torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.mean((2, 3)), likelihood.mean(output)[..., 0, 0], atol=0.03)


def test_one_channel_of_logistics_is_the_mixture_of_sound():
    likelihood = made("logistics", 1, mixtures=4)
    output, picture = output_of(likelihood, 2, 3, 5), torch.rand(2, 1, 3, 5) * 2 - 1
    snapped = grid_values(grid_levels(picture, levels=256), levels=256)
    twin = logistics_nll(output.flatten(2), snapped.flatten(1), levels=256, floor=-7)
    assert torch.allclose(likelihood.nats(output, picture).flatten(1).float(), twin, rtol=1e-5)


def test_colours_follow_one_another_as_in_the_paper():
    """Salimans et al. (2017), equation 3, by loops over pixels, components and channels."""
    likelihood = Logistics(3, mixtures=2)
    assert likelihood.width == 2 * 10
    output = output_of(likelihood, 1, 2, 2)
    picture = grid_values(torch.randint(256, (1, 3, 2, 2)), levels=256)
    nats = likelihood.nats(output, picture)
    for y, x in itertools.product(range(2), range(2)):
        values = output[0, :, y, x].view(10, 2)
        mixture = []
        for m in range(2):
            logit, means, scales, (a, b, c) = (
                values[0, m],
                values[1:4, m],
                values[4:7, m],
                values[7:, m].tanh(),
            )
            red, green, blue = picture[0, :, y, x]
            moved = (means[0], means[1] + a * red, means[2] + b * red + c * green)
            alone = [
                -logistics_nll(torch.stack([logit * 0, mean, scale]).view(1, 3, 1), v.view(1, 1), levels=256)
                for mean, scale, v in zip(moved, scales, (red, green, blue), strict=True)
            ]
            mixture.append(values[0].log_softmax(0)[m] + sum(alone).double())
        assert nats[0, y, x].item() == pytest.approx(-torch.stack(mixture).logsumexp(0).item(), rel=1e-5)


def test_normalised_error_is_the_gaussian_of_half_the_variance():
    """Sonnet's loss and the density differ by what does not depend on the output."""
    variance = 4 * 0.06327
    likelihood = made("nmse", 3, variance=variance)
    output = output_of(likelihood, 2, 4, 4).requires_grad_()
    picture = grid_values(torch.randint(256, (2, 3, 4, 4)), levels=256)
    loss = likelihood.loss(output, picture).mean()
    assert loss.item() == pytest.approx((output - picture).square().mean().item() / variance)
    density = torch.distributions.Normal(output, (variance / 2) ** 0.5).log_prob(picture)
    expected, ours = (torch.autograd.grad(x, output)[0] for x in (-density.mean(), loss))
    assert torch.allclose(expected, ours)
    inside = (picture.abs() < 1).all(1)
    nats = likelihood.nats(output, picture)[inside]
    # A bin of 2 / 255 is narrow beside this deviation: its mass is the density times its width.
    assert torch.allclose(nats, (-density - torch.tensor(2 / 255).log()).sum(1)[inside], atol=0.02)


def test_the_learned_deviation_comes_to_the_root_mean_square_error():
    likelihood = made("gaussian", 1)
    picture = (0.3 * torch.randn(4, 1, 16, 16)).clamp(-0.99, 0.99)
    optimiser = torch.optim.Adam(likelihood.parameters(), 0.1)
    for _ in range(80):
        loss = likelihood.nats(torch.zeros_like(picture), picture).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    (log_scale,) = likelihood.parameters()
    assert log_scale.exp().item() == pytest.approx(picture.square().mean().sqrt().item(), rel=0.02)
