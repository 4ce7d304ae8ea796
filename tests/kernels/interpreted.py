"""The Triton kernels of the search, run by Triton's interpreter on the CPU.

`test_gpu` runs this file in a process of its own, because Triton decides when it is imported whether
it compiles or interprets:  TRITON_INTERPRET=1 python -m pytest tests/kernels/interpreted.py
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.kernels import plain
from speechvq.kernels.gpu import PRECISIONS, nearest, search

REDUCED = PRECISIONS[1:]


def distances(x, codes):
    """All pairs, in double precision, (N, K)."""
    return (x.double()[:, None] - codes.double()).square().sum(2)


def assert_nearest(x, codes, indices, slack=2e-5):
    """Every chosen code is as near as the nearest, up to float32 rounding."""
    assert indices.shape == (len(x),)
    assert indices.dtype == torch.int64
    square = distances(x, codes)
    chosen, least = square.gather(1, indices[:, None])[:, 0], square.min(1).values
    scale = (x - codes.mean(0)).double().square().sum(1) + codes.double().var(0).sum().nan_to_num()
    assert (chosen - least <= slack * scale).all()


def assert_lowest(x, codes, precision):
    """Exactly the lowest index of the least distance: for small whole numbers, where nothing rounds."""
    want = distances(x, codes).argmin(1)
    assert torch.equal(nearest(x, codes, precision=precision), want)
    assert torch.equal(plain.nearest(x, codes), want)


def whole(*shape, low=-3, high=4):
    return torch.randint(low, high, shape).float()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 70),
    k=st.one_of(st.integers(1, 9), st.integers(120, 300)),
    d=st.integers(1, 40),
    precision=st.sampled_from(REDUCED),
    seed=st.integers(0, 99),
)
def test_agrees_with_all_pairs_and_the_precision_changes_nothing(n, k, d, precision, seed):
    torch.manual_seed(seed)
    x, codes = torch.randn(n, d), torch.randn(k, d)
    found = nearest(x, codes)
    assert_nearest(x, codes, found)
    assert torch.equal(nearest(x, codes, precision=precision), found)


@settings(max_examples=25, deadline=None)
@given(
    k=st.integers(1, 300),
    d=st.integers(1, 6),
    offset=st.sampled_from([0, 0, 7, -1000]),
    precision=st.sampled_from(PRECISIONS),
    seed=st.integers(0, 99),
)
def test_exact_ties_go_to_the_lowest_index(k, d, offset, precision, seed):
    torch.manual_seed(seed)
    assert_lowest(whole(70, d) + offset, whole(k, d) + offset, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_duplicates_within_and_across_tiles(precision):
    codes = whole(9, 5).repeat(40, 1)
    x = codes[:50].clone()
    assert_lowest(x, codes, precision)
    assert (nearest(x, codes, precision=precision) < 9).all()
    assert nearest(x, torch.ones(300, 5), precision=precision).tolist() == [0] * 50
    late = torch.cat((torch.full((290, 5), 9.0), x[:1], x[:1]))
    assert nearest(x[:1], late, precision=precision).tolist() == [290]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [1, 8, 16, 17, 64, 160, 300])
def test_widths_that_fit_a_tile_and_that_do_not(dim, precision):
    torch.manual_seed(dim)
    x, codes = torch.randn(40, dim), torch.randn(150, dim)
    assert_nearest(x, codes, nearest(x, codes, precision=precision))
    assert_lowest(whole(40, dim), whole(150, dim), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_large_common_offset_does_not_matter(precision):
    torch.manual_seed(0)
    steps = torch.arange(150.0)[:, None] * 0.01 + 1000
    assert nearest(steps, steps, precision=precision).tolist() == list(range(150))
    x, codes = torch.randn(60, 8).half().float(), torch.randn(140, 8).half().float()
    moved = nearest(x + 1024, codes + 1024, precision=precision)
    assert_nearest(x + 1024, codes + 1024, moved)
    assert (moved != nearest(x, codes)).float().mean() < 0.02


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_that_are_not_contiguous(precision):
    x, codes = whole(70, 6), whole(140, 6)
    want = distances(x, codes).argmin(1)
    apart = torch.full((70, 3, 13), float("nan"))
    apart[:, 1, ::2][:, :6] = x
    for view in (x.T.contiguous().T, apart[:, 1, ::2][:, :6], torch.cat((x, x), 1)[:, 6:]):
        assert torch.equal(view, x)
        assert torch.equal(nearest(view, codes, precision=precision), want)
        assert torch.equal(nearest(x, codes.T.contiguous().T, precision=precision), want)
    assert torch.equal(nearest(x.flip(0)[:1].expand(70, 6), codes, precision=precision), want[-1:].expand(70))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38, -3e38])
def test_rows_that_are_not_finite_get_an_index_and_spoil_no_other(bad, precision):
    x, codes = whole(70, 6), whole(130, 6)
    want = distances(x, codes).argmin(1)
    x[::3, 2] = bad
    found = nearest(x, codes, precision=precision)
    assert ((found >= 0) & (found < 130)).all()
    fine = torch.arange(70) % 3 != 0
    assert torch.equal(found[fine], want[fine])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_codes_that_are_not_finite_leave_the_index_in_range(bad, precision):
    x, codes = whole(20, 6), whole(130, 6)
    codes[5, 1] = bad
    found = nearest(x, codes, precision=precision)
    assert ((found >= 0) & (found < 130)).all()


@pytest.mark.parametrize("precision", REDUCED)
def test_near_ties_are_not_believed(precision):
    """Pairs of codes so close together that no reduced precision can tell which one is nearer."""
    torch.manual_seed(0)
    codes = torch.randn(75, 20).repeat_interleave(2, 0)
    codes[1::2] += 1e-4 * torch.randn(75, 20)
    x = codes[::2] + 0.1 * torch.randn(75, 20)
    found = search(x, codes, precision=precision)
    assert found.rescored is not None
    assert found.rescored.tolist() == [75]
    assert torch.equal(found.indices, nearest(x, codes))
    assert_nearest(x, codes, found.indices, slack=1e-6)


@pytest.mark.parametrize("precision", REDUCED)
def test_scores_that_agree_in_all_but_their_last_bits(precision):
    """Nothing is rounded here but the scores, whose last bits the first pass needs for the column."""
    codes = torch.tensor([[512.0, 1.0], [512.0, 0.0], [-512.0, 1.0], [-512.0, 1.0]])
    assert nearest(torch.zeros(1, 2), codes, precision=precision).tolist() == [1]


@pytest.mark.parametrize("precision", REDUCED)
def test_clear_rows_are_not_searched_twice(precision):
    torch.manual_seed(0)
    codes = torch.randn(140, 32)
    x = codes[torch.randint(140, (90,))] + 0.05 * torch.randn(90, 32)
    found = search(x, codes, precision=precision)
    assert found.rescored is not None
    assert found.rescored.tolist() == [0]
    assert torch.equal(found.indices, nearest(x, codes))
    assert search(x, codes).rescored is None


def test_tf32_proves_more_than_bfloat16():
    torch.manual_seed(0)
    x, codes = torch.randn(200, 16), torch.randn(256, 16)
    coarse, fine = (int(search(x, codes, precision=p).rescored) for p in ("bfloat16", "tf32"))
    assert 0 < fine < coarse < 120


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("scale", [2.0**-70, 2.0**-40, 2.0**40, 2.0**60])
def test_the_unit_of_measure_does_not_matter(scale, precision):
    """Down to where squares vanish: then everything is a tie that only float32 may break."""
    torch.manual_seed(0)
    x, codes = torch.randn(60, 12), torch.randn(140, 12)
    found = nearest(x * scale, codes * scale, precision=precision)
    assert torch.equal(found, nearest(x * scale, codes * scale))
    if scale > 2.0**-60:
        assert torch.equal(found, nearest(x, codes))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows_and_a_single_code(precision):
    assert nearest(torch.zeros(0, 4), torch.randn(7, 4), precision=precision).shape == (0,)
    assert nearest(torch.randn(9, 4), torch.randn(1, 4), precision=precision).tolist() == [0] * 9


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_of_programs_of_every_size(precision, monkeypatch):
    """Where there are few rows for each multiprocessor, programs are smaller; indices are the same."""
    x, codes = whole(150, 7), whole(260, 7)
    want = distances(x, codes).argmin(1)
    for processors in (1, 1000):
        monkeypatch.setattr("speechvq.kernels.gpu._processors", lambda _, n=processors: n)
        assert torch.equal(nearest(x, codes, precision=precision), want)
