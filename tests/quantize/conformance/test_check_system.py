"""Checks of what surrounds a quantizer: decoding, residual stacks, checkpoints, compilers, memory."""

from pathlib import Path

import pytest
import torch


def compiled(side, x):
    """What ``side`` gives when compiled as one graph."""
    torch._dynamo.reset()
    return torch.compile(side, fullgraph=True, backend="aot_eager")(x)


def walk_by_loop(books, x):
    """Indices (N, depth) of rows ``x``, one vector at a time, in double precision."""
    found = []
    for vector in x.double():
        left, row = vector, []
        for book in books:
            row.append(int((left - book.double()).square().sum(1).argmin()))
            left = left - book.double()[row[-1]]
        found.append(row)
    return torch.tensor(found)


def stack(make, depth=4):
    """A residual stack with known codes, and the codes."""
    side, books = make(depth=depth), [torch.randn(16, 8) / 2**d for d in range(depth)]
    for level, codes in enumerate(books):
        side.set_codebook(codes, level)
    return side, books


def test_decode_undoes_forward(make):
    side = make().eval()
    vectors, indices, _ = side(torch.randn(2, 30, 8))
    torch.testing.assert_close(side.decode(indices), vectors, atol=1e-6, rtol=0)


def test_decode_of_minus_one_is_zero(make):
    side = make()
    decoded = side.decode(torch.tensor([[[3], [-1], [0]]]))
    assert (decoded[0, 1] == 0).all()
    assert (decoded[0, 0] == side.codebook()[3]).all()


def test_residual_walk_is_greedy(make):
    side, books = stack(make)
    x = torch.randn(2, 30, 8)
    vectors, indices, _ = side.eval()(x)
    wanted = walk_by_loop(books, x.flatten(0, 1))
    assert torch.equal(indices.flatten(0, 1), wanted)
    total = sum(book[wanted[:, d]] for d, book in enumerate(books))
    torch.testing.assert_close(vectors.flatten(0, 1), total, atol=1e-5, rtol=0)


def test_residual_straight_through_is_the_identity(make):
    side, _ = stack(make)
    x, cotangent = torch.randn(2, 30, 8, requires_grad=True), torch.randn(2, 30, 8)
    (found,) = torch.autograd.grad((side(x)[0] * cotangent).sum(), x)
    torch.testing.assert_close(found, cotangent, atol=1e-5, rtol=0)


def test_residual_decodes_the_first_depths(make):
    side, books = stack(make)
    indices = side.eval()(torch.randn(2, 30, 8))[1]
    total = books[0][indices[..., 0]] + books[1][indices[..., 1]]
    torch.testing.assert_close(side.decode(indices[..., :2]), total, atol=1e-6, rtol=0)


def test_resumed_is_uninterrupted(make):
    """Also when stopped right after k-means."""
    batches = [torch.randn(1, 200, 8) for _ in range(5)]
    first, second = make(kmeans=True), make(kmeans=True, seed=7)
    for x in batches[:2]:
        first(x)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    for x in batches[2:]:
        a, b = first(x), second(x)
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())


def test_compiles_whole_for_eval(make):
    side, x = make().eval(), torch.randn(2, 30, 8)
    wanted = side(x)
    for a, b in zip(compiled(side, x), wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_compiles_whole_for_training(make):
    side, twin, x = make(), make(), torch.randn(2, 30, 8)
    for a, b in zip(compiled(side, x), twin(x), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(dict(side.state_dict()), dict(twin.state_dict()))


def test_exports(make):
    side, x = make().eval(), torch.randn(2, 30, 8)
    program = torch.export.export(side, (x,)).module()
    for a, b in zip(program(x), side(x), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")
def test_memory_is_no_matrix_of_distances(make, peaks):
    """An eval forward of 8192 vectors and 4096 codes rises less than half their distances would take."""
    what = "eval,training,residual" if make.side == "ours" else "eval"  # one process for all of ours
    assert peaks(make.side, what)["eval"] < 0.5
