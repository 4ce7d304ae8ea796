"""The search, plain and by the fastest means here, against a loop over every pair."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.kernels import plain
from speechvq.quantize import nearest as fastest


@pytest.fixture(params=["plain", "fastest"])
def nearest(request):
    """A search, by name."""
    return {"plain": plain.nearest, "fastest": fastest.nearest}[request.param]


def nearest_by_loop(x, codes):
    """The slow obvious twin, in double precision."""
    found = []
    for vector in x.double():
        best, at = float("inf"), 0
        for k, code in enumerate(codes.double()):
            distance = float((vector - code).square().sum())
            if distance < best:
                best, at = distance, k
        found.append(at)
    return torch.tensor(found, dtype=torch.int64)


def assert_as_near(x, codes, indices, slack=1e-5):
    """Every chosen code is as near as the nearest, up to float32 rounding."""
    distance = torch.cdist(x.double(), codes.double()) ** 2
    chosen = distance.gather(1, indices[:, None])[:, 0]
    scale = distance.min(1).values + codes.double().square().sum(1).mean()
    assert (chosen - distance.min(1).values <= slack * scale).all()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 40),
    k=st.integers(1, 33),
    d=st.integers(1, 9),
    tile=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_equals_the_loop(n, k, d, tile, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    codes = torch.randn(k, d, generator=generator)
    for indices in (plain.nearest(x, codes, tile=tile), fastest.nearest(x, codes)):
        assert indices.shape == (n,)
        assert indices.dtype == torch.int64
        assert torch.equal(indices, nearest_by_loop(x, codes))


@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 40), d=st.integers(1, 6), offset=st.integers(-1000, 1000), seed=st.integers(0, 99))
def test_exact_ties_go_to_the_lowest_index(k, d, offset, seed):
    """Small whole numbers are exact in float32, so that equal distances are equal scores."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (30, d), generator=generator).float() + offset
    codes = torch.randint(-3, 4, (k, d), generator=generator).float() + offset
    for nearest in (plain.nearest, fastest.nearest):
        assert torch.equal(nearest(x, codes), nearest_by_loop(x, codes))


@pytest.mark.parametrize("dim", [1, 2, 8, 64, 257])
@pytest.mark.parametrize("size", [1, 2, 31, 512])
def test_as_near_as_the_nearest(nearest, dim, size):
    torch.manual_seed(dim * size)
    x, codes = torch.randn(300, dim), torch.randn(size, dim)
    assert_as_near(x, codes, nearest(x, codes))


def test_the_tile_never_changes_an_index():
    torch.manual_seed(0)
    x, codes = torch.randn(1000, 16), torch.randn(100, 16)
    whole = plain.nearest(x, codes)
    for tile in (1, 7, 128, 999, 1000, 5000):
        assert torch.equal(plain.nearest(x, codes, tile=tile), whole)


def test_a_large_common_offset_does_not_matter(nearest):
    torch.manual_seed(0)
    codes = torch.arange(8.0)[:, None] * 0.01 + 1000
    assert nearest(codes, codes).tolist() == list(range(8))
    x, codes = torch.randn(500, 8).half().float(), torch.randn(64, 8).half().float()
    moved = nearest(x + 1024, codes + 1024)
    assert_as_near(x + 1024, codes + 1024, moved)
    assert (moved != nearest(x, codes)).float().mean() < 0.01


def test_equal_codes_and_a_single_code(nearest):
    assert nearest(torch.randn(20, 4), torch.ones(6, 4)).tolist() == [0] * 20
    assert nearest(torch.randn(20, 4), torch.zeros(1, 4)).tolist() == [0] * 20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_searched_in_float32_or_more(nearest, dtype):
    torch.manual_seed(0)
    x, codes = torch.randn(100, 8).to(dtype), torch.randn(40, 8)
    assert torch.equal(nearest(x, codes), nearest_by_loop(x, codes))


def test_autocast_and_matmul_precision_change_nothing(nearest):
    torch.manual_seed(0)
    x, codes = torch.randn(2000, 32), torch.randn(256, 32)
    plain = nearest(x, codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(x, codes), plain)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(nearest(x, codes), plain)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_rows_that_are_not_contiguous(nearest):
    torch.manual_seed(0)
    x, codes = torch.randn(8, 100).T, torch.randn(8, 40).T
    assert torch.equal(nearest(x, codes), nearest_by_loop(x, codes))
