"""Dead codes: who counts as dead, where they go, and that they stay alive."""

import pytest
import torch

from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start, VectorQuantizer

FAR = 100.0


def with_dead_codes(by="ema", revival=Revival(threshold=0.1, decay=0.5), size=8):  # noqa: B008
    """One code on the data, the others far away."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, size, learning=Learning(by=by), start=Start(by="normal"), revival=revival)
    codes = torch.full((size, 4), FAR) + torch.arange(size)[:, None]
    codes[0] = 0
    quantizer.codebook.restart(codes)
    return quantizer


@pytest.mark.parametrize("by", ["ema", "gradient"])
def test_revives_and_survives(by):
    quantizer = with_dead_codes(by)
    z = torch.randn(2, 4, 50)
    revived = [float(quantizer(z).stats["revived"]) for _ in range(4)]
    assert revived == [0, 0, 0, 7]  # .5 ** 4 is the first power below .1
    rows = z.movedim(1, -1).reshape(-1, 4)
    now = quantizer.codebook.vectors.detach()[1:]
    assert (torch.cdist(now, rows).min(1).values < 1e-6).all()  # on vectors of the batch ...
    assert len(now.unique(dim=0)) == 7  # ... that differ
    assert (quantizer.codebook.use[1:] == 1).all()
    if by == "ema":
        assert (quantizer.codebook.counts[1:] == 1).all()
        assert torch.equal(quantizer.codebook.sums[1:], quantizer.codebook.vectors[1:])
    for _ in range(10):
        out = quantizer(torch.randn(2, 4, 50))
    assert out.stats["usage"] == 1
    assert quantizer.codebook.vectors.abs().max() < 6


def test_none_are_revived_when_told_so():
    quantizer = with_dead_codes(revival=Revival(threshold=0, decay=0.5))
    for _ in range(20):
        assert quantizer(torch.randn(2, 4, 50)).stats["revived"] == 0
    assert quantizer.codebook.vectors[1:].min() > FAR - 1


def test_dead_is_a_fraction_of_the_fair_share_whatever_the_batch():
    """An absolute count would kill every code when there are fewer vectors than codes."""
    torch.manual_seed(0)
    for length in (4, 400):
        quantizer = VectorQuantizer(2, 16, start=Start(by="normal"), revival=Revival(threshold=0.1))
        corners = torch.randn(16, 2) * 10
        quantizer.codebook.restart(corners)
        revived = 0.0
        for _ in range(100):
            z = corners[torch.randint(16, (length,))].T[None]
            revived += float(quantizer(z).stats["revived"])
        assert revived == 0


def test_patience_does_not_depend_on_the_batch():
    for length in (8, 800):
        quantizer = with_dead_codes(revival=Revival(threshold=0.25, decay=0.9))
        steps = 0
        while quantizer(torch.randn(1, 4, length)).stats["revived"] == 0:
            steps += 1
        assert steps == 13  # .9 ** 14 is the first power below .25


def test_draws_from_valid_vectors_only():
    quantizer = with_dead_codes()
    mask = torch.zeros(2, 50, dtype=torch.bool)
    mask[0, 10:20] = True
    z = torch.full((2, 4, 50), 50.0)
    z.movedim(1, -1)[mask] = torch.randn(10, 4)
    for _ in range(4):
        out = quantizer(z, mask)
    assert out.stats["revived"] == 7
    assert quantizer.codebook.vectors.abs().max() < 6


def test_use_reaches_every_component_of_a_mixture():
    torch.manual_seed(0)
    centres = torch.randn(32, 6) * 4
    quantizer = VectorQuantizer(
        6, 32, start=Start(by="normal", scale=1e-3), revival=Revival(threshold=0.2, decay=0.9)
    )
    for _ in range(300):
        z = centres[torch.randint(32, (256,))] + 0.05 * torch.randn(256, 6)
        stats = quantizer(z.T[None]).stats
    assert stats["usage"] > 0.9
    assert stats["error"] < 0.1


@pytest.mark.parametrize("shared", [False, True])
def test_each_depth_revives_on_its_own_residuals(shared):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(
        4, 8, 2, shared=shared, start=Start(by="normal"), revival=Revival(threshold=0.1, decay=0.5)
    )
    for book in quantizer.codebooks:
        codes = torch.full((8, 4), FAR) + torch.arange(8)[:, None]
        codes[0] = 0
        book.restart(codes)
    z = 10 + torch.randn(2, 4, 50)
    total = 0.0
    for _ in range(12):
        stats = quantizer(z).stats
        total += float(stats["revived"])
    assert total >= 7
    assert stats["error"] < 0.5
    for book in quantizer.codebooks:
        assert book.vectors.abs().max() < 20
    assert all(p.isfinite().all() for p in quantizer.state_dict().values())
