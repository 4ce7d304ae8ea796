"""Bounds and gradients of the baselines, where the marginal likelihood can be summed up."""

import importlib.util
import itertools
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from speechvq.image.conv import ConvDecoder, ConvEncoder, Shape

RECIPE = Path(__file__).parents[2] / "recipes" / "images"
SMALL = Shape(hidden=8, outer=4, residual=4, blocks=1)


@pytest.fixture(scope="module")
def baselines() -> ModuleType:
    """By its path: another recipe has a file of this name."""
    spec = importlib.util.spec_from_file_location("image_baselines", RECIPE / "baselines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(latent: int, encoded: int, size: tuple[int, int]) -> tuple[ConvEncoder, ConvDecoder, torch.Tensor]:
    encoder = ConvEncoder(encoded, colours=1, size=SMALL)
    decoder = ConvDecoder(latent, colours=1, size=SMALL)
    return encoder, decoder, torch.randint(256, (3, 1, *size)) / 127.5 - 1


def test_gradient_of_vimco_is_that_of_the_expected_bound(baselines: ModuleType):
    """Three codes, two or three samples: the sum over all draws, each by its probability."""
    for samples in (2, 3):
        q, joint = (torch.randn(3, dtype=torch.float64).requires_grad_() for _ in range(2))
        log_q = q.log_softmax(0)
        expected, ours = 0.0, 0.0
        for draw in itertools.product(range(3), repeat=samples):
            at = torch.tensor(draw)
            log_weights, chosen = (joint - log_q)[at][:, None], log_q[at][:, None]
            probability = chosen.sum().exp()
            expected = expected + probability * baselines.bound(log_weights)[0]
            ours = ours + probability.detach() * baselines.vimco(log_weights, chosen)[0]
        exact = torch.autograd.grad(expected, (q, joint), retain_graph=True)
        made = torch.autograd.grad(ours, (q, joint))
        for left, right in zip(exact, made, strict=True):
            assert torch.allclose(left, right, rtol=1e-9, atol=1e-12)
        assert exact[0].abs().max() > 1e-3


def test_the_baseline_of_vimco_lowers_the_variance(baselines: ModuleType):
    joint, log_q = 5 * torch.randn(4), torch.zeros(4).log_softmax(0).requires_grad_()
    plain, ours = [], []
    for _ in range(300):
        at = torch.randint(4, (3,))
        log_weights, chosen = (joint - 30 - log_q)[at][:, None], log_q[at][:, None]
        value = baselines.bound(log_weights)
        without = (value + value.detach() * chosen.sum(0))[0]
        plain.append(torch.autograd.grad(without, log_q, retain_graph=True)[0])
        ours.append(torch.autograd.grad(baselines.vimco(log_weights, chosen)[0], log_q, retain_graph=True)[0])
    assert torch.stack(ours).var(0).sum() < 0.1 * torch.stack(plain).var(0).sum()


def test_bounds_of_categories_rise_to_the_sum_over_all_codes(baselines: ModuleType):
    """Two places of five codes: 25 latents in all."""
    encoder, decoder, picture = parts(4, 6, (4, 8))
    model = baselines.CategoricalVAE(encoder, decoder, 5).eval()
    every = torch.cartesian_prod(torch.arange(5), torch.arange(5)).view(25, 1, 1, 2).expand(25, 3, 1, 2)
    with torch.no_grad():
        vectors = model.codes(every).movedim(4, 2)
        exact = model.log_likelihood(vectors, picture).logsumexp(0) - 2 * math.log(5)
        log_weights, _ = model.log_weights(picture, 2000)
    means = [baselines.bound(log_weights[:1000].view(n, -1, 3)).mean(0) for n in (1, 4, 20)]
    assert means[0].mean() < means[1].mean() < means[2].mean()
    assert (means[2] < exact + 0.02).all()
    assert torch.allclose(baselines.bound(log_weights), exact, atol=0.1)


def test_bounds_of_gaussians_rise_to_the_integral(baselines: ModuleType):
    """One latent of one channel: the integral over it by a fine sum."""
    encoder, decoder, picture = parts(1, 2, (4, 4))
    model = baselines.GaussianVAE(encoder, decoder).eval()
    z = torch.linspace(-8, 8, 1601)
    with torch.no_grad():
        likelihood = model.log_likelihood(z.view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1), picture)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z)[:, None]
        exact = (likelihood + prior).logsumexp(0) + math.log(0.01)
        log_weights, _ = model.log_weights(picture, 4000)
        elbo = -torch.stack([model.loss(picture) for _ in range(300)]).mean() * 16
    means = [baselines.bound(log_weights[:2000].view(n, -1, 3)).mean(0) for n in (1, 5, 50)]
    assert means[0].mean() < means[1].mean() < means[2].mean()
    assert (means[2] < exact + 0.02).all()
    assert torch.allclose(baselines.bound(log_weights), exact, atol=0.05)
    assert elbo.item() == pytest.approx(means[0].mean().item(), abs=0.1)
    bits = model.bits_per_dim(picture, 200)
    assert torch.allclose(bits, -exact / (16 * math.log(2)), atol=0.02)


@pytest.mark.parametrize("kind", ["GaussianVAE", "CategoricalVAE"])
def test_they_learn(baselines: ModuleType, kind: str):
    """Four pictures: after some steps they cost less than before, and less than their negatives."""
    encoder, decoder, _ = parts(4, 8, (8, 8))
    rest = (6,) if kind == "CategoricalVAE" else ()
    model = getattr(baselines, kind)(encoder, decoder, *rest)
    picture = torch.sign(torch.randn(4, 1, 2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3) / 2
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    before = model.bits_per_dim(picture, 5).mean()
    for _ in range(120):
        optimiser.zero_grad()
        model.loss(picture).backward()
        optimiser.step()
    after = model.bits_per_dim(picture, 5).mean()
    assert after < before - 1
    assert after < model.bits_per_dim(-picture, 5).mean() - 0.1
