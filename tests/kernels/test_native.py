"""The compiled kernels against plain torch and against loops.

Whole numbers make float32 exact in any order of additions: then every result must be equal, ties too.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels import native, plain
from speechvq.kernels.build import LIBRARY

needs_library = pytest.mark.skipif(not native.available(), reason="the kernels are not compiled here")
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=native.KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kernel in turn; those this processor lacks are skipped."""
    monkeypatch.setenv(native.VARIABLE, request.param)
    try:
        assert native.name() == request.param
    except BadSetting as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Tensor, list[Tensor], int, Tensor | None]:
    """Rows, books, visits and depths, of whole numbers."""
    N = draw(st.sampled_from([0, 1, 2, 15, 16, 17, 33, 70, 300]))
    D = draw(st.sampled_from([1, 2, 3, 8, 15, 16, 17, 31, 40, 64, 100]))
    K = draw(st.sampled_from([1, 2, 5, 16, 17, 33, 64, 100]))
    visits, shared = draw(st.integers(1, 4)), draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 10**6)))
    x_ND = torch.randint(-5, 6, (N, D)).float()
    books = [torch.randint(-4, 5, (K, D)).float() for _ in range(1 if shared else visits)]
    depths_N = torch.randint(0, visits + 1, (N,)) if draw(st.booleans()) else None
    return x_ND, books, visits, depths_N


def by_loop(x_ND: Tensor, books: list[Tensor], visits: int, depths_N: Tensor | None) -> plain.Walk:
    """One row, one depth, one code at a time, in float64."""
    (N, D), K = x_ND.shape, len(books[0])
    doubles = {"dtype": torch.float64}
    out = plain.Walk(
        indices=torch.full((visits, N), -1),
        total=torch.zeros(N, D, **doubles),
        pull=torch.zeros(N, D, **doubles),
        counts=torch.zeros(visits, K, **doubles),
        sums=torch.zeros(len(books), K, D, **doubles),
        errors=torch.zeros(visits, **doubles),
        moments=torch.zeros(3 + D, **doubles),
    )
    anchor = books[0].double().mean(0)
    for n, x in enumerate(x_ND.double()):
        depth = visits if depths_N is None else int(depths_N[n])
        left = x
        for v in range(depth):
            b = v % len(books)
            codes = books[b].double()
            k = min(range(K), key=lambda k: ((left - codes[k]) ** 2).sum().item())  # noqa: B023
            out.indices[v, n] = k
            out.counts[v, k] += 1
            out.sums[b, k] += left
            left = left - codes[k]
            out.total[n] += codes[k]
            out.pull[n] += left
            out.errors[v] += left.square().sum()
        if depth:
            moved = x - anchor
            out.moments.add_(torch.cat([torch.tensor([1, left @ left, moved @ moved]), moved]))
    return out


def assert_same(got: plain.Walk, wanted: plain.Walk) -> None:
    for name in ("indices", "total", "pull", "counts", "sums", "errors"):
        torch.testing.assert_close(
            getattr(got, name), getattr(wanted, name), rtol=0, atol=0, check_dtype=False
        )
    # The anchor is a mean: no whole number.
    torch.testing.assert_close(got.moments, wanted.moments.float(), rtol=2e-5, atol=1e-3)


@needs_library
@often
@given(case=walks())
def test_walk_is_the_plain_walk(kernel: str, case):
    x_ND, books, visits, depths_N = case
    got = native.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=True)
    assert_same(got, plain.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=True))
    assert native.walk(x_ND, books, visits=visits, depths_N=depths_N).sums.shape == (0,)
    if depths_N is None:
        assert torch.equal(native.encode(x_ND, books, visits=visits), got.indices)
    if depths_N is None and len(books) == 1:
        assert torch.equal(native.nearest(x_ND, books[0]), got.indices[0])


@needs_library
@settings(max_examples=8, deadline=None)
@given(case=walks().filter(lambda case: len(case[0]) * len(case[1][0]) <= 600))
def test_walk_is_the_loop(case):
    x_ND, books, visits, depths_N = case
    got = native.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=True)
    assert_same(got, by_loop(x_ND, books, visits, depths_N))


@needs_library
@pytest.mark.parametrize(
    ("N", "D", "K", "offset"), [(500, 37, 90, 0), (700, 64, 300, 1e3), (260, 256, 40, 0)]
)
def test_every_choice_is_a_nearest_code(kernel: str, N: int, D: int, K: int, offset: float):
    books = [torch.randn(K, D) * 0.8**v + (offset if v == 0 else 0) for v in range(4)]
    x_ND = torch.randn(N, D) + offset
    walk = native.walk(x_ND, books, visits=4)
    left = x_ND.double()
    for v, book in enumerate(books):
        squared = torch.cdist(left, book.double()).square()
        chosen = squared.gather(1, walk.indices[v, :, None])[:, 0]
        assert (chosen - squared.amin(1) <= 2e-6 * (1 + 1e-3 * offset) * (D + squared.amin(1))).all()
        left = left - book.double()[walk.indices[v]]
        torch.testing.assert_close(walk.errors[v].double(), left.square().sum(), rtol=1e-4, atol=0)
    torch.testing.assert_close(walk.total.double(), x_ND.double() - left, rtol=1e-6, atol=1e-5 * (1 + offset))


@needs_library
@often
@given(case=walks().filter(lambda case: len(case[1]) == 1))
def test_walk_by_the_gram_matrix_is_the_walk(case):
    x_ND, books, visits, depths_N = case
    got = native.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=True, gram=True)
    assert_same(got, plain.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=True))


@needs_library
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_codes_found_by_the_gram_matrix_are_the_nearest(offset: float, two_threads: None):
    codes_KD = torch.cat([torch.randn(150, 64) * 0.9**i + (offset if i == 0 else 0) for i in range(4)])
    codes_KD[37] = codes_KD[5]
    halfway = (codes_KD[torch.randint(600, (400,))] + codes_KD[torch.randint(600, (400,))]) / 2
    x_ND = torch.cat([torch.randn(400, 64) + offset, halfway])
    found = native.encode(x_ND, [codes_KD], visits=5, gram=True)
    assert not (found == 37).any()  # the first of equals
    left = x_ND
    for indices_N in found:
        squared = (left.double() - codes_KD.double()[indices_N]).square().sum(1)
        best = torch.cdist(left.double(), codes_KD.double()).square().amin(1)
        # Rows are rescored wherever rounding could have decided, so no error of scores is left.
        assert (squared - best <= 1e-9 * (best + left.square().sum(1))).all()
        left = left - codes_KD[indices_N]


@needs_library
def test_shared_book_of_usual_size_goes_by_the_gram_matrix_to_the_same_codes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "generic")
    x_ND, codes_KD = torch.randint(-5, 6, (600, 64)).float(), torch.randint(-4, 5, (200, 64)).float()
    by_default = native.walk(x_ND, [codes_KD], visits=3, sums=True)
    assert_same(by_default, native.walk(x_ND, [codes_KD], visits=3, sums=True, gram=False))


@needs_library
@pytest.mark.parametrize("gram", [False, True])
def test_rows_that_are_not_finite_count_for_errors_only(kernel: str, gram: bool):
    x_ND = torch.randint(-5, 6, (90, 20)).float()
    books = [torch.randint(-4, 5, (30, 20)).float() for _ in range(1 if gram else 3)]
    bad = torch.zeros(90, dtype=torch.bool)
    bad[::7] = True
    spoilt = x_ND.clone()
    spoilt[bad, 3] = torch.tensor([float("nan"), float("inf"), -float("inf")]).repeat(5)[: int(bad.sum())]
    got = native.walk(spoilt, books, visits=3, sums=True, gram=gram)
    good = plain.walk(x_ND[~bad], books, visits=3, sums=True)
    assert torch.equal(got.indices[:, ~bad], good.indices)
    assert ((got.indices >= 0) & (got.indices < 30)).all()
    for name in ("counts", "sums"):
        assert torch.equal(getattr(got, name), getattr(good, name))
    torch.testing.assert_close(got.moments, good.moments, rtol=2e-5, atol=1e-3)
    assert not got.errors.isfinite().any()
    padded = native.walk(spoilt, books, visits=3, depths_N=torch.where(bad, 0, 3), gram=gram)
    assert torch.equal(padded.errors, good.errors)
    assert torch.equal(padded.total[bad], torch.zeros_like(padded.total[bad]))


@needs_library
def test_codes_that_are_not_finite_lead_nowhere_else(kernel: str):
    codes_KD = torch.randn(20, 9)
    codes_KD[4], codes_KD[7, 2] = float("nan"), float("inf")
    for gram in (False, True):
        found = native.walk(torch.randn(50, 9), [codes_KD], visits=3, sums=True, gram=gram).indices
        assert ((found >= 0) & (found < 20)).all()


@needs_library
def test_rows_may_lie_apart():
    wide = torch.randint(-5, 6, (80, 50)).float()
    codes_KD = torch.randint(-4, 5, (17, 23)).float()
    for x_ND in (wide[:, 5:28], wide[::3, 1:24], wide.T[:23].T, wide[:23].T, wide[0, :23].expand(40, 23)):
        assert torch.equal(native.nearest(x_ND, codes_KD), plain.nearest(x_ND, codes_KD))
        assert_same(native.walk(x_ND, [codes_KD], visits=2, sums=True),
                    plain.walk(x_ND, [codes_KD], visits=2, sums=True))  # fmt: skip
    assert torch.equal(
        native.nearest(wide[:, 3:4], codes_KD[:, 2:3]), plain.nearest(wide[:, 3:4], codes_KD[:, 2:3])
    )
    assert torch.equal(native.nearest(wide[:, :17], codes_KD.T), plain.nearest(wide[:, :17], codes_KD.T))


@needs_library
@pytest.mark.parametrize("shared", [True, False])
def test_two_threads_find_what_one_finds(kernel: str, shared: bool, two_threads: None):
    x_ND = torch.randint(-5, 6, (4000, 48)).float()
    books = [torch.randint(-4, 5, (400, 48)).float() for _ in range(1 if shared else 2)]
    depths_N = torch.randint(0, 3, (4000,))
    two = native.walk(x_ND, books, visits=2, depths_N=depths_N, sums=True)
    torch.set_num_threads(1)
    assert_same(two, native.walk(x_ND, books, visits=2, depths_N=depths_N, sums=True))


@needs_library
def test_two_threads_add_in_the_same_order_every_time(two_threads: None):
    x_ND, books = torch.randn(4000, 48), [torch.randn(400, 48)]
    first, again = (native.walk(x_ND, books, visits=2, sums=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    torch.set_num_threads(1)
    assert torch.equal(native.encode(x_ND, books, visits=2), first.indices)


@needs_library
def test_wrong_input_is_refused(monkeypatch: pytest.MonkeyPatch):
    x_ND, codes_KD = torch.randn(5, 4), torch.randn(3, 4)
    for wrong in (codes_KD.double(), codes_KD[:, :3], codes_KD[:0], codes_KD[0]):
        with pytest.raises(ValueError, match="needs"):
            native.nearest(x_ND, wrong)
    with pytest.raises(ValueError, match="as many books"):
        native.walk(x_ND, [codes_KD, codes_KD], visits=3)
    with pytest.raises(ValueError, match="depths must be"):
        native.walk(x_ND, [codes_KD], depths_N=torch.ones(4, dtype=torch.int64))
    monkeypatch.setenv(native.VARIABLE, "abacus")
    with pytest.raises(BadSetting, match="SPEECHVQ_KERNEL=abacus .* choose one of generic,"):
        native.nearest(x_ND, codes_KD)
    monkeypatch.setenv(native.VARIABLE, "plain")
    assert not native.available()


@needs_library
def test_a_library_that_cannot_be_used_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stale = tmp_path / "stale.so"
    stale.write_bytes(LIBRARY.read_bytes().replace(b"speechvq sources ", b"speechvq sources 0"))
    torn = tmp_path / "torn.so"
    torn.write_bytes(b"speechvq")
    for file, reason in (
        (tmp_path / "none.so", "not there"),
        (stale, "other sources"),
        (torn, "other sources"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert native.load(file) is None
        (record,) = caplog.records
        assert reason in record.message
        assert "python -m speechvq.kernels.build" in record.message
    shutil.copy(LIBRARY, tmp_path / "good.so")
    assert native.load(tmp_path / "good.so") is not None
