"""What codebooks learn, against loops in double precision; in parts, in any order, bit for bit again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.kernels.plain import walk
from speechvq.quantize import Learning, ResidualQuantizer, Revival, Space, Start, VectorQuantizer
from speechvq.quantize.stack import walk_stack

DIM, SIZE = 4, 6
NORMAL, NONE = Start(by="normal"), Revival(threshold=0)


def states(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def debiased_by_loop(codes, batches, decay, epsilon=1e-5):
    """Averages that start at zero, divided by 1 - decay^t (Sonnet 2), one vector at a time."""
    n, m = torch.zeros(len(codes)).double(), torch.zeros_like(codes)
    for t, rows in enumerate(batches, 1):
        hit, total = torch.zeros_like(n), torch.zeros_like(m)
        for x in rows:
            k = int((x - codes).square().sum(1).argmin())
            hit[k] += 1
            total[k] += x
        n, m = decay * n + (1 - decay) * hit, decay * m + (1 - decay) * total
        fair_n, fair_m = n / (1 - decay**t), m / (1 - decay**t)
        smoothed = (fair_n + epsilon) / (fair_n.sum() + len(codes) * epsilon) * fair_n.sum()
        codes = fair_m / smoothed[:, None]
    return codes


def test_debiased_averages():
    quantizer = VectorQuantizer(
        DIM, SIZE, learning=Learning(by="debiased", decay=0.8), start=NORMAL, revival=NONE
    ).double()
    batches = [torch.randn(30, DIM, dtype=torch.float64) for _ in range(6)]
    wanted = debiased_by_loop(quantizer.codebook.vectors.clone(), batches, 0.8)
    for rows in batches:
        quantizer(rows.T[None])
    torch.testing.assert_close(quantizer.codebook.vectors, wanted)


def test_debiased_example():
    """Three codes and four vectors: after one step the averages are those of the batch alone."""
    quantizer = VectorQuantizer(2, 3, learning=Learning(by="debiased"), start=NORMAL, revival=NONE).double()
    quantizer.codebook.restart(torch.tensor([[0.0, 0], [1, 1], [-1, 2]]).double())
    z = torch.tensor([[0.1, -0.2], [0.9, 1.2], [1.1, 0.8], [0.2, 0.1]]).double().T[None]
    quantizer(z)
    wanted = torch.tensor([[0.150000, -0.050000], [1.000002, 1.000002], [0, 0]]).double()
    torch.testing.assert_close(quantizer.codebook.vectors, wanted, atol=1e-6, rtol=0)


def test_codes_of_length_one():
    """Cosine: averages of vectors of length one, and codes brought to length one after each."""
    quantizer = VectorQuantizer(
        DIM, SIZE, space=Space(metric="cosine"), learning=Learning(decay=0.7), start=NORMAL, revival=NONE
    ).double()
    codes, n = quantizer.codebook.vectors.clone(), torch.ones(SIZE).double()
    m = codes.clone()
    for _ in range(5):
        z = torch.randn(1, DIM, 40, dtype=torch.float64) * 3
        out, rows = quantizer(z), torch.nn.functional.normalize(z[0].T)
        assert torch.equal(out.indices[0, 0], (rows @ codes.T).argmax(1))
        hit = torch.nn.functional.one_hot(out.indices[0, 0], SIZE).double()
        torch.testing.assert_close(out.vectors[0].T, hit @ codes)
        n, m = 0.7 * n + 0.3 * hit.sum(0), 0.7 * m + 0.3 * hit.T @ rows
        codes = torch.nn.functional.normalize(m)
        torch.testing.assert_close(quantizer.codebook.vectors, codes)
        torch.testing.assert_close(quantizer.codebook.counts, n)


@pytest.mark.parametrize("by", ["ema", "debiased"])
def test_fixed_point(by):
    """Codes that are the means of their vectors stay, whatever the rule."""
    quantizer = VectorQuantizer(
        DIM, SIZE, learning=Learning(by=by, epsilon=1e-9), start=NORMAL, revival=NONE
    ).double()
    codes = torch.randn(SIZE, DIM, dtype=torch.float64) * 40
    quantizer.codebook.restart(codes)
    for _ in range(4):
        offset = torch.randn_like(codes)
        quantizer(torch.cat([codes + offset, codes - offset]).T[None])
    torch.testing.assert_close(quantizer.codebook.vectors, codes, atol=1e-6, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 40),
    cut=st.integers(0, 40),
    visits=st.integers(1, 3),
    shared=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_add_up_to_the_whole(n, cut, visits, shared, seed):
    """What a walk finds of a batch is what it finds of its parts, summed: so workers need one sum."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    depths = torch.randint(0, visits + 1, (n,), generator=generator)
    books = [torch.randn(SIZE, DIM, generator=generator).double() for _ in range(1 if shared else visits)]
    whole = walk(x, books, visits=visits, depths_N=depths, sums=True)
    parts = [
        walk(x[s], books, visits=visits, depths_N=depths[s], sums=True)
        for s in (slice(0, cut), slice(cut, None))
    ]
    for name in ("counts", "sums", "errors", "moments"):
        torch.testing.assert_close(getattr(whole, name), sum(getattr(p, name) for p in parts))
    assert torch.equal(whole.indices, torch.cat([p.indices for p in parts], 1))


@pytest.mark.parametrize("shared", [False, True])
def test_gathered_lessons_taught_once(shared):
    """Lessons of two halves, added and taught once, are the lesson of the whole: gradient accumulation."""
    x = torch.randn(60, DIM, dtype=torch.float64)

    def made():
        torch.manual_seed(1)
        stack = ResidualQuantizer(DIM, SIZE, 2, shared=shared, start=NORMAL, revival=NONE).double()
        return stack, list(stack.codebooks)

    (whole, _), (gathered, books) = made(), made()
    whole(x.T[None])
    halves = [
        walk_stack(part, books, visits=2, depths_N=None, training=True).lessons for part in x.split([17, 43])
    ]
    for first, second in zip(*halves, strict=True):
        first.codebook.learn((first.counts + second.counts).sum(0), first.sums + second.sums)
    torch.testing.assert_close(states(gathered), states(whole))


def test_the_order_of_vectors_does_not_matter(kind):
    if kind.by_chance:
        pytest.skip("which item drops depths depends on its place")
    one, other, z = kind(), kind(), torch.randn(1, 6, 50)
    for _ in range(3):
        one(z)
        other(z[..., torch.randperm(50)])
    torch.testing.assert_close(states(one), states(other))


def test_bit_for_bit_the_same_every_time(any_kind):
    """Under torch's own switch for it, in training, from the same random numbers."""
    torch.set_deterministic_debug_mode("error")
    try:
        found = []
        for _ in range(2):
            quantizer = any_kind(start=Start(by="kmeans"))
            z = torch.randn(2, 6, 100, requires_grad=True)
            for _ in range(3):
                out = quantizer(z)
            (out.vectors.square().sum() + sum(out.losses.values())).backward()
            found.append([z.grad, out.vectors, *states(quantizer).values()])
    finally:
        torch.set_deterministic_debug_mode("default")
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
