"""Draws against their distribution, and the losses that spread codes against the full N x K matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.quantize import Chance, Diversity, Learning, Start, VectorQuantizer
from speechvq.quantize.diversity import entropies, orthogonality

NORMAL = Start(by="normal")


def entropies_in_full(y, codes, valid, temperature):
    """From the whole matrix of probabilities, as the paper has it."""
    p = (-(y[:, None] - codes).square().sum(2) / temperature).softmax(1)[valid]
    entropy = lambda q: torch.special.entr(q).sum(-1)  # noqa: E731
    return entropy(p).mean(), entropy(p.mean(0))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 30),
    k=st.integers(1, 9),
    d=st.integers(1, 4),
    temperature=st.floats(0.2, 3),
    seed=st.integers(0, 99),
)
def test_entropies_are_those_of_the_matrix(n, k, d, temperature, seed):
    """Values, and gradients for vectors and codes, of valid vectors only."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, d, generator=generator, dtype=torch.float64).requires_grad_()
    codes = torch.randn(k, d, generator=generator, dtype=torch.float64).requires_grad_()
    valid = torch.rand(n, generator=generator) < 0.7
    valid[0] = True
    found = entropies(y, codes, valid, temperature=temperature, training=True)
    wanted = entropies_in_full(y, codes, valid, temperature)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
    grads = [torch.autograd.grad(sure - 0.8 * spread, [y, codes]) for sure, spread in (found, wanted)]
    torch.testing.assert_close(*grads)


def test_entropies_do_not_depend_on_the_tiles(monkeypatch):
    from speechvq.kernels import plain

    y, codes = torch.randn(500, 4).double(), torch.randn(30, 4).double()
    whole = entropies(y, codes, None, temperature=1.0, training=True)
    monkeypatch.setitem(plain.TILE_SCORES, "cpu", 30 * 7)
    torch.testing.assert_close(entropies(y, codes, None, temperature=1.0, training=True), whole)


def test_orthogonality_is_the_mean_squared_cosine():
    codes = torch.randn(7, 4, dtype=torch.float64)
    cosines = [
        float(torch.nn.functional.cosine_similarity(codes[i], codes[j], dim=0)) ** 2
        for i in range(7)
        for j in range(7)
        if i != j
    ]
    assert float(orthogonality(codes)) == pytest.approx(sum(cosines) / 49)
    assert float(orthogonality(torch.eye(4))) == pytest.approx(0, abs=1e-7)


def test_diversity_losses_are_weighted_and_named():
    diversity = Diversity(entropy=0.3, gamma=0.5, temperature=2.0, orthogonal=0.2)
    learning = Learning(by="gradient")
    quantizer = VectorQuantizer(3, 5, start=NORMAL, learning=learning, diversity=diversity).double()
    z, mask = torch.randn(2, 3, 20, dtype=torch.float64), torch.rand(2, 20) < 0.7
    losses = quantizer(z, mask).losses
    codes = quantizer.codebook.vectors
    sure, spread = entropies_in_full(z.movedim(1, -1).flatten(0, 1), codes, mask.flatten(), 2.0)
    torch.testing.assert_close(losses["entropy"], 0.3 * (sure - 0.5 * spread))
    torch.testing.assert_close(losses["orthogonal"], 0.2 * orthogonality(codes))
    with pytest.raises(BadSetting, match="cannot be made orthogonal"):
        VectorQuantizer(3, 5, diversity=Diversity(orthogonal=0.1))


def test_the_entropy_loss_spreads_codes():
    """Every code is used by data that, without it, would use a few."""
    used = []
    for weight in (0.0, 3.0):
        torch.manual_seed(0)
        diversity = Diversity(entropy=weight, temperature=0.5)
        quantizer = VectorQuantizer(
            2, 8, start=Start(by="normal", scale=3.0), learning=Learning(by="gradient"), diversity=diversity
        )
        optimiser, z = torch.optim.Adam(quantizer.parameters(), lr=0.05), torch.rand(1, 2, 200)
        for _ in range(80):
            optimiser.zero_grad()
            sum(quantizer(z).losses.values()).backward()
            optimiser.step()
        used.append(float(quantizer.eval()(z).stats["perplexity"]))
    assert used[1] > 1.5 * used[0]


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_draws_follow_the_softmax(temperature):
    """In training only; 40 000 draws of one vector, each share within five deviations."""
    quantizer = VectorQuantizer(3, 6, start=NORMAL, chance=Chance(temperature=temperature))
    codes, z = quantizer.codebook.vectors.clone(), torch.randn(1, 3, 1)
    p = (-(z[0].T - codes).square().sum(1) / temperature).softmax(0)
    counts = quantizer(z.expand(1, 3, 40_000)).stats["counts"][0]
    assert ((counts / 40_000 - p).abs() <= 5 * (p * (1 - p) / 40_000).sqrt() + 1e-9).all()
    quantizer.codebook.restart(codes)
    assert (quantizer.eval()(z).indices == p.argmax()).all()
    assert (quantizer.train().encode(z) == p.argmax()).all()
