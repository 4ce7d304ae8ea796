"""The residual stack against a loop over its depths."""

import pytest
import torch

from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start

DIM, SIZE, DEPTH = 4, 6, 3
NORMAL = Start(by="normal")


def greedy_by_loop(quantizer, z):
    """Indices (N, K), and what is left before each depth, one vector at a time."""
    books = [quantizer.codebooks[0 if quantizer.shared else d].vectors for d in range(DEPTH)]
    indices, lefts = [], []
    for vector in z.movedim(1, -1).reshape(-1, DIM):
        left, found, before = vector.clone(), [], []
        for book in books:
            before.append(left.clone())
            found.append(int(((left - book) ** 2).sum(1).argmin()))
            left = left - book[found[-1]]
        indices.append(found)
        lefts.append(before)
    return indices, lefts


@pytest.mark.parametrize("shared", [False, True])
def test_walks_as_the_loop_does(shared):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, SIZE, DEPTH, shared=shared, start=NORMAL).double().eval()
    z = torch.randn(2, DIM, 11, dtype=torch.float64)
    indices, lefts = greedy_by_loop(quantizer, z)
    out = quantizer(z)
    assert out.indices.movedim(1, -1).reshape(-1, DEPTH).tolist() == indices
    errors = []
    for d in range(DEPTH):
        after = [quantizer.decode(out.indices[:, : d + 1])]
        errors.append(float(((z - after[0]) ** 2).mean()))
    wanted = 0.25 * sum(errors) / DEPTH
    assert float(out.losses["commitment"]) == pytest.approx(wanted)


@pytest.mark.parametrize("shared", [False, True])
def test_ema_learns_from_every_depth_once(shared):
    """For a shared codebook one pooled update: counts and sums of all depths together."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, SIZE, DEPTH, shared=shared, start=NORMAL).double()
    z = torch.randn(2, DIM, 11, dtype=torch.float64)
    indices, lefts = greedy_by_loop(quantizer, z)
    books = list(quantizer.codebooks)
    counts = [book.counts.clone() for book in books]
    sums = [book.sums.clone() for book in books]
    hits = [torch.zeros(SIZE, dtype=torch.float64) for _ in books]
    found = [torch.zeros(SIZE, DIM, dtype=torch.float64) for _ in books]
    for row, before in zip(indices, lefts, strict=True):
        for d in range(DEPTH):
            hits[0 if shared else d][row[d]] += 1
            found[0 if shared else d][row[d]] += before[d]
    quantizer(z)
    for book, n, m, hit, add in zip(books, counts, sums, hits, found, strict=True):
        torch.testing.assert_close(book.counts, 0.99 * n + 0.01 * hit)
        torch.testing.assert_close(book.sums, 0.99 * m + 0.01 * add)


@pytest.mark.parametrize("shared", [False, True])
def test_decodes_the_first_codebooks(shared):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, SIZE, DEPTH, shared=shared, start=NORMAL).eval()
    z = torch.randn(2, DIM, 3, 4)
    indices = quantizer.encode(z)
    total = torch.zeros_like(z)
    for k in range(1, DEPTH + 1):
        book = quantizer.codebooks[0 if shared else k - 1].vectors
        total = total + book[indices[:, k - 1]].movedim(-1, 1)
        assert torch.equal(quantizer.decode(indices[:, :k]), total)
    dropped = indices.clone()
    dropped[:, 1:] = -1
    assert torch.equal(quantizer.decode(dropped), quantizer.decode(indices[:, :1]))


def test_gradients_of_a_stack_by_gradient():
    """Codebook loss pulls each depth's code to what was left; commitment pulls z to every partial sum."""
    torch.manual_seed(0)
    learning = Learning(by="gradient", commitment=0.5)
    quantizer = ResidualQuantizer(DIM, SIZE, DEPTH, learning=learning, start=NORMAL).double()
    z = torch.randn(1, DIM, 7, dtype=torch.float64, requires_grad=True)
    _, lefts = greedy_by_loop(quantizer, z.detach())
    vectors = [book.vectors.detach().clone() for book in quantizer.codebooks]
    out = quantizer(z)
    sum(out.losses.values()).backward()
    scale = 2 / (7 * DIM * DEPTH)
    dz = torch.zeros(7, DIM, dtype=torch.float64)
    for d in range(DEPTH):
        left = torch.stack([before[d] for before in lefts])
        code = vectors[d][out.indices[0, d]]
        dz += 0.5 * scale * (left - code)
        wanted = torch.zeros_like(vectors[d]).index_add_(0, out.indices[0, d], scale * (code - left))
        torch.testing.assert_close(quantizer.codebooks[d].vectors.grad, wanted)
    torch.testing.assert_close(z.grad[0].T, dz)


@pytest.mark.parametrize("shared", [False, True])
def test_the_error_falls_with_depth_after_training(shared):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, 16, DEPTH, shared=shared, revival=Revival(threshold=0.05))
    z = torch.randn(4, DIM, 100)
    for _ in range(30):
        quantizer(z)
    indices = quantizer.eval().encode(z)
    errors = [float((z - quantizer.decode(indices[:, :k])).square().mean()) for k in range(1, DEPTH + 1)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] == pytest.approx(float(quantizer(z).stats["error"] * z.var(dim=(0, 2)).mean()), rel=0.02)
