"""The residual stack against a loop over its depths."""

import pytest
import torch

from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start, soft_labels

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


def test_soft_labels_of_the_worked_example():
    """Book (1,0), (0,1), (-1,-1), (.25,.25) shared by three depths, z = (.9,.4), temperature .5."""
    quantizer = ResidualQuantizer(2, 4, 3, shared=True, start=NORMAL).double().eval()
    quantizer.codebooks[0].restart(torch.tensor([[1.0, 0], [0, 1], [-1, -1], [0.25, 0.25]]).double())
    z = torch.tensor([0.9, 0.4]).double()[None, :, None]
    soft = soft_labels(quantizer, z, temperature=0.5)
    assert soft.indices.flatten().tolist() == [0, 3, 3]
    wanted = [
        [0.584008, 0.079037, 0.000012, 0.336943],
        [0.049905, 0.368748, 0.003035, 0.578312],
        [0.034823, 0.257311, 0.042533, 0.665332],
    ]
    assert soft.probabilities[0, :, 0].tolist() == [pytest.approx(row, abs=1e-6) for row in wanted]


def errors_by_depth(codes, z, depth):
    """Squared lengths (depth + 1, N) of ``z`` (N, D) and of what each depth leaves of it."""
    quantizer = ResidualQuantizer(z.shape[1], len(codes), depth, shared=True, start=NORMAL).double().eval()
    quantizer.codebooks[0].restart(codes)
    vectors = z.T[None]
    indices = quantizer.encode(vectors)
    lefts = [vectors - quantizer.decode(indices[:, :k]) for k in range(1, depth + 1)]
    return torch.stack([left.square().sum(1)[0] for left in [vectors, *lefts]]), [vectors, *lefts]


def test_the_error_falls_where_a_code_is_short_enough_and_only_there():
    """|r - e|^2 < |r|^2 for the nearest e if and only if |e|^2 < 2 r.e for some e."""
    torch.manual_seed(0)
    codes, z = torch.randn(63, 8).double(), torch.randn(1000, 8).double()
    errors, lefts = errors_by_depth(codes, z, 6)
    for d in range(6):
        left_ND = lefts[d][0].T
        helps = (codes.square().sum(1) < 2 * left_ND @ codes.T).any(1)
        assert torch.equal(errors[d + 1] < errors[d], helps)


def test_without_a_zero_code_the_error_grows_for_many_and_with_it_for_none():
    torch.manual_seed(0)
    codes, z = torch.randn(63, 8).double(), torch.randn(4000, 8).double()
    errors, _ = errors_by_depth(codes, z, 6)
    grew = (errors[1:] > errors[:-1]).double().mean(1)
    assert grew.tolist() == pytest.approx([0.027, 0.176, 0.374, 0.462, 0.489, 0.56], abs=0.12)
    errors, _ = errors_by_depth(torch.cat([codes, torch.zeros(1, 8).double()]), z, 6)
    assert (errors[1:] <= errors[:-1]).all()
