"""The logit-Laplace likelihood: a density, and the limits of its parts."""

import numpy as np
import pytest
import torch

from speechvq.losses.logit_laplace import logit_laplace_nll, squeeze, stretch


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (-1.7, 0.4), (2.5, 0.1)])
def test_it_is_a_density_over_zero_to_one(mean: float, scale: float):
    # By the midpoints of bins that are fine where the density is: equal steps of the logit.
    edges = torch.sigmoid(torch.linspace(mean - 25 * scale, mean + 25 * scale, 200_001, dtype=torch.float64))
    x = (edges[1:] + edges[:-1]) / 2
    density = torch.exp(-logit_laplace_nll(x, torch.tensor(mean), torch.tensor(scale).double().log()))
    assert float((density * edges.diff()).sum()) == pytest.approx(1, abs=1e-6)


def test_it_is_laplace_of_the_logit():
    draw = np.random.default_rng()
    x, mean, b = draw.uniform(0.1, 0.9, 50), draw.normal(size=50), draw.uniform(0.05, 3, 50)
    logit = np.log(x / (1 - x))
    laplace = np.exp(-np.abs(logit - mean) / b) / (2 * b)
    wanted = -np.log(laplace / (x * (1 - x)))  # d logit / d x
    found = logit_laplace_nll(*(torch.from_numpy(a) for a in (x, mean, np.log(b))))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def test_pixels_are_squeezed_and_stretched_back():
    pixels = torch.tensor([0.0, 0.25, 1.0])
    assert squeeze(pixels).tolist() == pytest.approx([0.1, 0.3, 0.9])
    assert stretch(squeeze(pixels)).tolist() == pytest.approx(pixels.tolist(), abs=1e-6)


def test_full_precision_under_autocast():
    x = squeeze(torch.rand(2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        found = logit_laplace_nll(x, torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(()))
    assert found.dtype == torch.float32
    assert torch.allclose(found, logit_laplace_nll(x, torch.zeros(2, 3), torch.zeros(())))
