"""The fused float32 search (src/fused.h) of each instruction set, held to float64 distances to every code.

The kernels are compiled here with a shim of a few lines, so that they are tested alone and with any middle.
Whole numbers around a whole middle make float32 exact: there the index must be the very first of the nearest.
"""

import ctypes
import mmap
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

KERNELS = ("generic", "avx2", "avx512")
SHIM = """
#include "kernel.h"
using namespace speechvq;
static const Kernel* const kernels[] = {&generic, &avx2, &avx512};
extern "C" bool usable(int i) { return kernels[i]->usable(); }
extern "C" void release(int i, Packed* p) { kernels[i]->release(p); }
extern "C" Packed* pack(int i, const float* codes, int64_t K, int64_t D, const float* middle) {
    return kernels[i]->pack(codes, K, D, middle);
}
extern "C" void find(int i, Packed* p, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    kernels[i]->find(p, x, stride, rows, indices);
}
"""
sizes = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 33, 100, 512])
often = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

type Floats = NDArray[np.float32]
type Indices = NDArray[np.int64]
type Find = Callable[[Floats], Indices]
type Pack = Callable[..., Find]


class Book:
    """One codebook, packed for one kernel."""

    def __init__(self, library: ctypes.CDLL, kernel: int, codes_KD: Floats, *, whole: bool = False):
        codes_KD = np.ascontiguousarray(codes_KD, np.float32)
        middle_D = np.nanmean(codes_KD, 0)
        middle_D = middle_D.round() if whole else middle_D
        self.library, self.kernel = library, kernel
        self.packed = library.pack(kernel, codes_KD.ctypes.data, *codes_KD.shape, middle_D.ctypes.data)
        assert self.packed

    def __call__(self, x_ND: Floats) -> Indices:
        indices_N = np.full(len(x_ND), -7)
        assert x_ND.dtype == np.float32
        assert x_ND.strides[1] == 4 or x_ND.shape[1] == 1
        place = x_ND.ctypes.data, x_ND.strides[0] // 4, len(x_ND)
        self.library.find(self.kernel, self.packed, *place, indices_N.ctypes.data)
        return indices_N

    def __del__(self):
        self.library.release(self.kernel, self.packed)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    folder, source = tmp_path_factory.mktemp("search"), checkout / "speechvq/kernels/src"
    (folder / "shim.cpp").write_text(SHIM)
    files = [folder / "shim.cpp", *(source / f"{name}.cpp" for name in KERNELS)]
    flags = ["-O3", "-std=c++17", "-shared", "-fPIC", f"-I{source}"]
    subprocess.run([compiler, *flags, *files, "-o", folder / "search.so"], check=True)
    made = ctypes.CDLL(str(folder / "search.so"))
    which, pointer, number = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    made.usable.restype, made.usable.argtypes = ctypes.c_bool, [which]
    made.pack.restype, made.pack.argtypes = pointer, [which, pointer, number, number, pointer]
    made.find.restype, made.find.argtypes = None, [which, pointer, pointer, number, number, pointer]
    made.release.restype, made.release.argtypes = None, [which, pointer]
    return made


@pytest.fixture(params=KERNELS)
def pack(request: pytest.FixtureRequest, library: ctypes.CDLL) -> Pack:
    kernel = KERNELS.index(request.param)
    if not library.usable(kernel):
        pytest.skip(f"this processor has no {request.param}")
    return lambda codes_KD, **how: Book(library, kernel, codes_KD, **how)


def distances(x_ND: Floats, codes_KD: Floats) -> NDArray[np.float64]:
    """(N, K) squared distances, code by code in float64."""
    x_ND = x_ND.astype(np.float64)
    return np.stack([((x_ND - code_D) ** 2).sum(1) for code_D in codes_KD.astype(np.float64)], 1)


def normal(*shape: int) -> Floats:
    return np.random.standard_normal(shape).astype(np.float32)


def whole(*shape: int) -> Floats:
    """Few different values, so that many codes are equally far."""
    return np.random.randint(-2, 3, shape).astype(np.float32)


def assert_nearest(x_ND: Floats, codes_KD: Floats, indices_N: Indices):
    """As near as the nearest but for the rounding of float32, which grows with the distances."""
    far_NK = distances(x_ND, codes_KD)
    slack = 1e-6 * far_NK.max()
    assert (np.take_along_axis(far_NK, indices_N[:, None], 1)[:, 0] <= far_NK.min(1) + slack).all()


@often
@given(N=sizes, K=sizes, D=sizes, seed=st.integers(0, 2**32 - 1))
def test_finds_what_float64_finds(pack: Pack, N: int, K: int, D: int, seed: int):
    np.random.seed(seed)
    x_ND, codes_KD = normal(N, D), normal(K, D)
    assert_nearest(x_ND, codes_KD, pack(codes_KD)(x_ND))


@often
@given(N=sizes, K=sizes, D=sizes, seed=st.integers(0, 2**32 - 1))
def test_first_of_the_nearest_among_whole_numbers(pack: Pack, N: int, K: int, D: int, seed: int):
    np.random.seed(seed)
    x_ND, codes_KD = whole(N, D), whole(K, D)
    assert (pack(codes_KD, whole=True)(x_ND) == distances(x_ND, codes_KD).argmin(1)).all()


# More dimensions than a step adds up at once; more codes than stay near; more rows than are turned at once.
@pytest.mark.parametrize(
    ("N", "K", "D"), [(50, 500, 1025), (9, 13, 2100), (300, 700, 300), (600, 40, 200), (1100, 700, 1)]
)
def test_what_does_not_fit_at_once(pack: Pack, N: int, K: int, D: int):
    x_ND, codes_KD = whole(N, D), whole(K, D)
    assert (pack(codes_KD, whole=True)(x_ND) == distances(x_ND, codes_KD).argmin(1)).all()


@pytest.mark.parametrize("D", [1, 7, 64, 257, 1100])
def test_the_first_of_equal_codes(pack: Pack, D: int):
    """Equal codes have scores that are equal in every bit, wherever they stand."""
    codes_KD = normal(20, D)[np.random.permutation(np.arange(400) % 20)]
    first = np.array([np.flatnonzero((codes_KD == code_D).all(1))[0] for code_D in codes_KD])
    x_ND = np.concatenate([normal(70, D), codes_KD])
    indices_N = pack(codes_KD)(x_ND)
    assert (indices_N == first[indices_N]).all()
    assert (indices_N[70:] == first).all()


@pytest.mark.parametrize("D", [1, 8, 100])
def test_a_large_common_offset_does_not_matter(pack: Pack, D: int):
    # Steps of 1/64 near 1000 are exact in float32: only distances that cancel could go wrong.
    x_ND, codes_KD = (np.round(normal(count, D) * 64) / 64 for count in (90, 150))
    indices_N = pack(codes_KD + 1000)(x_ND + 1000)
    assert_nearest(x_ND, codes_KD, indices_N)


@pytest.mark.parametrize("D", [1, 5, 64])
def test_rows_may_lie_apart(pack: Pack, D: int):
    wide, codes_KD = np.full((75, D + 9), np.nan, np.float32), normal(33, D)
    wide[::3, 4 : 4 + D] = normal(25, D)
    x_ND = wide[::3, 4 : 4 + D]
    assert (pack(codes_KD)(x_ND) == pack(codes_KD)(x_ND.copy())).all()
    assert_nearest(x_ND, codes_KD, pack(codes_KD)(x_ND))


def test_a_row_gets_the_same_index_in_any_company(pack: Pack):
    x_ND, find = normal(101, 24), pack(normal(300, 24))
    together = find(x_ND)
    for count in (1, 7, 16, 17, 40):
        apart = [find(x_ND[n : n + count]) for n in range(0, 101, count)]
        assert (np.concatenate(apart) == together).all()


@pytest.mark.parametrize("D", [1, 8, 70])
def test_rows_that_are_not_finite_stay_in_the_book_and_alone(pack: Pack, D: int):
    x_ND, codes_KD = normal(60, D), normal(37, D)
    find = pack(codes_KD)
    clean = find(x_ND)
    spoilt_ND, spoilt = x_ND.copy(), np.arange(60) % 4 == 1
    values = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)
    spoilt_ND[spoilt, np.random.randint(D)] = np.random.choice(values, spoilt.sum())
    indices_N = find(spoilt_ND)
    assert ((indices_N >= 0) & (indices_N < 37)).all()
    assert (indices_N == clean)[~spoilt].all()


def test_codes_that_are_not_numbers_are_never_nearest(pack: Pack):
    x_ND, codes_KD, bad = normal(50, 6), normal(40, 6), np.arange(40) % 3 == 0
    far_NK = np.where(bad, np.inf, distances(x_ND, codes_KD))
    codes_KD[bad, 2] = np.nan
    assert (pack(codes_KD)(x_ND) == far_NK.argmin(1)).all()


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize(("N", "K", "D"), [(1, 1, 1), (5, 13, 3), (17, 7, 17), (49, 30, 66), (3, 5, 1030)])
def test_reads_nothing_beyond_the_end(pack: Pack, N: int, K: int, D: int):
    """Rows and codes end where a page begins that nobody may read; reading it ends the process."""
    x_ND, codes_KD = at_the_edge(whole(N, D)), at_the_edge(whole(K, D))
    assert (pack(codes_KD, whole=True)(x_ND) == distances(x_ND, codes_KD).argmin(1)).all()


def at_the_edge(values: Floats) -> Floats:
    pages = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, pages + mmap.PAGESIZE), np.uint8)
    forbidden = ctypes.c_void_p(memory.ctypes.data + pages)
    assert ctypes.CDLL(None).mprotect(forbidden, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    edge = memory[pages - values.nbytes : pages].view(np.float32).reshape(values.shape)
    edge[:] = values
    return edge


def test_threads_share_a_book(pack: Pack):
    find, x_ND = pack(normal(500, 20)), normal(4000, 20)
    expected = find(x_ND)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(find, [x_ND] * 8):
            assert (found == expected).all()
