"""Worked examples in double precision: three codes, four vectors, every figure known."""

import pytest
import torch

from speechvq.quantize import Learning, Revival, Space, Start, VectorQuantizer

CODES = [[0, 0], [1, 1], [-1, 2]]
INPUTS = [[0.1, -0.2], [0.9, 1.2], [1.1, 0.8], [0.2, 0.1]]


def example(**learning):
    quantizer = VectorQuantizer(2, 3, learning=Learning(**learning), start=Start(by="normal")).double()
    quantizer.codebook.restart(torch.tensor(CODES, dtype=torch.float64))
    z = torch.tensor(INPUTS, dtype=torch.float64).T[None].clone().requires_grad_()
    return quantizer, z


def close(got, wanted, atol=1e-12):
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=got.dtype), atol=atol, rtol=0)


def test_indices_losses_and_figures():
    quantizer, z = example(by="gradient")
    out = quantizer(z)
    assert out.indices.tolist() == [[[0, 1, 1, 0]]]
    close(out.losses["codebook"], 0.025)
    close(out.losses["commitment"], 0.00625)
    close(sum(out.losses.values()), 0.03125)
    close(out.stats["perplexity"], 1.9999999996, atol=1e-9)
    close(out.stats["usage"], 2 / 3)
    assert out.stats["counts"].tolist() == [[2, 2, 0]]
    variance = torch.tensor(INPUTS, dtype=torch.float64).var(0, correction=0).sum().item()
    close(out.stats["error"], 0.05 / variance)


def test_gradients():
    quantizer, z = example(by="gradient")
    sum(quantizer(z).losses.values()).backward()
    dz = [[0.00625, -0.0125], [-0.00625, 0.0125], [0.00625, -0.0125], [0.0125, 0.00625]]
    close(z.grad[0].T, dz)
    close(quantizer.codebook.vectors.grad, [[-0.075, 0.025], [0, 0], [0, 0]])


def test_sum_scaling_is_dim_times_mean():
    quantizer, z = example(by="gradient", scaling="sum")
    losses = quantizer(z).losses
    close(losses["codebook"], 0.05)
    close(losses["commitment"], 0.0125)


def test_straight_through_is_the_identity():
    quantizer, z = example(by="gradient")
    cotangent = torch.randn(1, 2, 4, dtype=torch.float64)
    dz, dcodes = torch.autograd.grad(
        (quantizer(z).vectors * cotangent).sum(), [z, quantizer.codebook.vectors], allow_unused=True
    )
    assert torch.equal(dz, cotangent)
    assert dcodes is None


def test_ema_three_steps():
    quantizer, z = example(by="ema")
    book = quantizer.codebook
    first = quantizer(z)
    close(first.vectors[0].T, [CODES[i] for i in (0, 1, 1, 0)])  # the codebook before the update
    close(book.counts, [1.01, 1.01, 0.99])
    close(book.sums, [[0.003, -0.001], [1.01, 1.01], [-0.99, 1.98]])
    wanted = [[0.0029703, -0.0009901], [1.00000007, 1.00000007], [-0.99999987, 1.99999973]]
    close(book.vectors, wanted, atol=5e-9)
    close((book.sums / book.vectors)[:, 0], [1.00999993, 1.00999993, 0.99000013], atol=5e-9)
    quantizer(z)
    close(book.vectors[0], [0.00585352, -0.00195117], atol=5e-9)
    quantizer(z)
    close(book.vectors[0], [0.00865329, -0.00288443], atol=5e-9)


def test_ema_closed_form():
    """Constant hits n and sums s: N_t = g^t + (1 - g^t) n, m_t likewise."""
    torch.manual_seed(0)
    start, revival = Start(by="normal"), Revival(threshold=0)
    quantizer = VectorQuantizer(3, 2, start=start, revival=revival).double()
    codes = torch.tensor([[0.0, 0, 0], [9, 9, 9]], dtype=torch.float64)
    quantizer.codebook.restart(codes)
    z = torch.randn(2, 3, 10, dtype=torch.float64) * 0.1
    for _ in range(50):
        quantizer(z)
    held = 0.99**50
    close(quantizer.codebook.counts, [held + (1 - held) * 20, held])
    wanted = (1 - held) * z.sum((0, 2))
    torch.testing.assert_close(quantizer.codebook.sums[0], wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("by", ["ema", "gradient"])
def test_ties_go_to_the_lowest_index(by):
    quantizer, _ = example(by=by)
    quantizer.codebook.restart(torch.tensor([[1.0, 0], [0, 0], [0, 0]], dtype=torch.float64))
    z = torch.tensor([[0.5, 0], [0, 0], [0.1, 0]], dtype=torch.float64).T[None]
    assert quantizer.encode(z).tolist() == [[[0, 1, 1]]]


def test_a_vector_without_a_direction_gets_no_gradient():
    quantizer = VectorQuantizer(3, 5, space=Space(metric="cosine")).eval()
    z = torch.randn(1, 3, 4)
    z[..., 1] = 0
    z.requires_grad_()
    out = quantizer(z)
    (out.vectors.sum() + sum(out.losses.values())).backward()
    assert z.grad is not None
    assert not z.grad[..., 1].any()
    assert z.grad[..., [0, 2, 3]].abs().sum(1).all()
