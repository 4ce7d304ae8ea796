"""The search with matrix tiles (src/amx.cpp), held to a float64 loop over all codes.

The kernel is compiled here with a shim of five lines, so that it is tested alone. It rounds to bfloat16
before it multiplies; the data are chosen so that this loses the nearest code in every way there is.
"""

import ctypes
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pair = tuple[NDArray[np.floating], NDArray[np.floating]]
Kind = Callable[[int, int, int], Pair]

SHIM = """
#include "kernel.h"
using namespace speechvq;
extern "C" bool usable() { return amx.usable(); }
extern "C" Packed* pack(const float* c, int64_t K, int64_t D, const float* m) { return amx.pack(c, K, D, m); }
extern "C" void release(Packed* p) { amx.release(p); }
extern "C" void find(Packed* p, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    amx.find(p, x, stride, rows, indices);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> ctypes.CDLL:
    """The compiled kernel; skips where there is no compiler or no such processor."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    folder, source = tmp_path_factory.mktemp("amx"), checkout / "speechvq/kernels/src"
    (folder / "shim.cpp").write_text(SHIM)
    flags = ["-O3", "-std=c++17", "-shared", "-fPIC", f"-I{source}", "-o", folder / "amx.so"]
    subprocess.run([compiler, *flags, folder / "shim.cpp", source / "amx.cpp"], check=True)
    made = ctypes.CDLL(str(folder / "amx.so"))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    made.usable.restype = ctypes.c_bool
    made.pack.restype, made.pack.argtypes = pointer, [pointer, number, number, pointer]
    made.find.restype, made.find.argtypes = None, [pointer, pointer, number, number, pointer]
    made.release.restype, made.release.argtypes = None, [pointer]
    if not made.usable():
        pytest.skip("needs a processor with AMX-BF16, and a system that lets processes use it")
    return made


class Book:
    """One packed codebook."""

    def __init__(self, library: ctypes.CDLL, codes_KD: Floats):
        self.library, self.codes = library, np.ascontiguousarray(codes_KD, np.float32)
        middle = np.nan_to_num(self.codes.mean(0))
        self.packed = library.pack(self.codes.ctypes.data, *self.codes.shape, middle.ctypes.data)

    def find(self, x_ND: Floats) -> NDArray[np.int64]:
        indices = np.full(len(x_ND), -7)
        assert x_ND.dtype == np.float32
        self.library.find(self.packed, x_ND.ctypes.data, x_ND.strides[0] // 4, len(x_ND), indices.ctypes.data)
        return indices

    def __del__(self):
        self.library.release(self.packed)


def distances(x_ND: Floats, codes_KD: Floats) -> NDArray[np.float64]:
    """Squared, (N, K), a row at a time."""
    codes = codes_KD.astype(np.float64)
    return np.stack([((row.astype(np.float64) - codes) ** 2).sum(1) for row in x_ND])


def check(library: ctypes.CDLL, x_ND: Floats, codes_KD: Floats) -> None:
    np.testing.assert_array_equal(Book(library, codes_KD).find(x_ND), distances(x_ND, codes_KD).argmin(1))


def drawn(kind: Kind, N: int, K: int, D: int) -> tuple[Floats, Floats]:
    x, codes = kind(N, K, D)
    return x.astype(np.float32), codes.astype(np.float32)


def normal(*shape: int) -> Floats:
    return np.random.standard_normal(shape).astype(np.float32)


def plain(N: int, K: int, D: int) -> Pair:
    return normal(N, D), normal(K, D)


def shifted(N: int, K: int, D: int) -> Pair:
    return normal(N, D) + 1000, normal(K, D) + 1000


def rectified(N: int, K: int, D: int) -> Pair:
    """The offset is as large as the spread."""
    return 1 + 0.3 * normal(N, D), 1 + 0.3 * normal(K, D)


def far_away(N: int, K: int, D: int) -> Pair:
    return normal(N, D) * 1000 + 300, normal(K, D)


def cluster(N: int, K: int, D: int) -> Pair:
    return normal(N, D), 3 + 1e-4 * normal(K, D)


def two_clusters(N: int, K: int, D: int) -> Pair:
    """Every code has many others that bfloat16 cannot tell from it, and centring does not help."""
    codes = 1e-5 * normal(K, D) + np.where(np.arange(K) % 2, 5, -5)[:, None]
    codes[:, 0] = 1  # so that they look the same to whoever looks once
    return normal(N, D), codes


def along_a_line(N: int, K: int, D: int) -> Pair:
    """All rounding errors point the same way, so the bound is nearly reached."""
    line = normal(1, D)
    codes = line * (1 + np.random.permutation(K)[:, None] * 1e-3 / K)
    return line * (1 + 1e-3 * np.random.rand(N, 1)) + 1e-5 * normal(N, D), codes


def short_numbers(N: int, K: int, D: int) -> Pair:
    """Bfloat16 already, with a mean of zero: only the rounding of the sums can mislead."""
    short = lambda v: (v.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)  # noqa: E731
    base = normal(1, D) * np.exp2(np.random.randint(-9, 1, (1, D)))
    half = short(base * (1 + np.where(np.random.rand(K // 2, D) < 2 / D, 2.0**-7, 0)))
    codes = np.zeros((K, D), np.float32)
    codes[: K // 2 * 2 : 2], codes[1 : K // 2 * 2 : 2] = half, -half
    return short(normal(N, D)), codes


def many_sizes(N: int, K: int, D: int) -> Pair:
    return normal(N, D) * np.exp(3 * normal(N, 1)), normal(K, D) * np.exp(3 * normal(K, 1))


def whole_numbers(N: int, K: int, D: int) -> Pair:
    """With ties between different codes."""
    return np.rint(2 * normal(N, D)), np.rint(normal(K, D))


def twins(N: int, K: int, D: int) -> Pair:
    """Every code twice, the last one many times, one of them zero."""
    codes = normal(K, D)
    codes[: K // 2] = codes[K // 2 : K // 2 * 2][::-1]
    codes[K // 4 : K // 4 + 40] = codes[-1]
    codes[K // 3] = 0
    return codes[np.random.randint(0, K, N)] + 0.1 * normal(N, D), codes


KINDS = [
    plain, shifted, rectified, far_away, cluster, two_clusters, along_a_line, short_numbers, many_sizes,
    whole_numbers, twins,
]  # fmt: skip
SHAPES = [
    (1, 1, 1), (5, 3, 2), (65, 512, 8), (40, 33, 10), (70, 100, 11), (33, 65, 29), (31, 130, 32),
    (50, 512, 64), (20, 1030, 256), (9, 40, 700), (1200, 40, 4), (600, 70, 200), (20, 2500, 3),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_float64_finds(library: ctypes.CDLL, kind: Kind, shape: tuple[int, int, int]):
    x, codes = drawn(kind, *shape)
    check(library, x, codes)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6, 1e-17, 1e18])
def test_at_any_scale(library: ctypes.CDLL, scale: float):
    for shape in ((65, 100, 8), (40, 100, 64)):
        x, codes = drawn(plain, *shape)
        check(library, x * np.float32(scale), codes * np.float32(scale))


@settings(max_examples=60, deadline=None)
@given(N=st.integers(1, 70), K=st.integers(1, 200), D=st.integers(1, 140), seed=st.integers(0, 2**31))
def test_any_shape(library: ctypes.CDLL, N: int, K: int, D: int, seed: int):
    np.random.seed(seed)
    check(library, *drawn(KINDS[seed % len(KINDS)], N, K, D))


def test_many_codes_and_rows(library: ctypes.CDLL):
    """More codes than a span, more rows than a chunk; the twin looks at some of the rows."""
    for N, D in ((1500, 9), (700, 256)):
        x, codes = drawn(plain, N, 5000, D)
        some = np.random.permutation(N)[:60]
        np.testing.assert_array_equal(Book(library, codes).find(x)[some], distances(x[some], codes).argmin(1))


def test_rows_may_lie_apart(library: ctypes.CDLL):
    wide, codes = normal(100, 50), normal(300, 17)
    np.testing.assert_array_equal(
        Book(library, codes).find(wide[:, 20:37]), distances(wide[:, 20:37], codes).argmin(1)
    )


@pytest.mark.parametrize("D", [8, 40])
def test_rows_that_are_not_finite_stay_in_the_book_and_alone(library: ctypes.CDLL, D: int):
    x, codes = drawn(plain, 64, 50, D)
    want = distances(x, codes).argmin(1)
    broken = [3, 17, 40, 41]
    x[3, 2], x[17], x[40, 5], x[41] = np.nan, np.inf, -np.inf, np.float32(3e38)
    found = Book(library, codes).find(x)
    assert ((found >= 0) & (found < 50)).all()
    np.testing.assert_array_equal(np.delete(found, broken), np.delete(want, broken))


@pytest.mark.parametrize("D", [8, 40])
def test_codes_that_are_not_finite_are_never_nearest(library: ctypes.CDLL, D: int):
    x, codes = drawn(plain, 64, 50, D)
    codes[7, 1], codes[30], codes[31, 0] = np.nan, 3e38, -np.inf
    want = np.where(np.isfinite(codes).all(1), distances(x, np.nan_to_num(codes)), np.inf).argmin(1)
    np.testing.assert_array_equal(Book(library, codes).find(x), want)
    codes[:] = np.nan
    found = Book(library, codes).find(x)
    assert ((found >= 0) & (found < 50)).all()


@pytest.mark.parametrize("kind", [plain, two_clusters])
def test_threads_share_a_book(library: ctypes.CDLL, kind: Kind):
    """The second kind makes its second level while both threads search."""
    x, codes = drawn(kind, 400, 300, 48)
    book, found = Book(library, codes), {}
    halves = [slice(0, 200), slice(200, 400)]
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: book.find(x[halves[i]])})) for i in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = distances(x, codes).argmin(1)
    np.testing.assert_array_equal(np.concatenate([found[0], found[1]]), want)
