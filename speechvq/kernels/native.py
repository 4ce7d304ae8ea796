"""The search and the walk of `speechvq.kernels.plain` by a small C++ library, for float32 on a CPU.

The library (``src/*.cpp``, compiled by `speechvq.kernels.build`) carries one search for each instruction
set (generic, avx2, avx512, amx) and takes the one that is fastest on this processor for the codebook's
size; SPEECHVQ_KERNEL names another, or "plain" for none of them. Calls let other Python threads run. As
many threads work as torch has (`torch.set_num_threads`), where the work is worth it.

Legend: N vectors, K codes, D channels, V visits (depths of a residual walk).
"""

import ctypes
import logging
import os
from ctypes import c_char_p, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels.build import LIBRARY, REMEDY, SOURCES, carried, fingerprint
from speechvq.kernels.plain import Walk

VARIABLE = "SPEECHVQ_KERNEL"
KERNELS = ("generic", "avx2", "avx512", "amx")

log = logging.getLogger(__name__)


def available() -> bool:
    """Whether this module can be used: the library is there and SPEECHVQ_KERNEL does not say "plain".

    Says once in the log what is missing and how to get it.
    """
    return os.environ.get(VARIABLE) != "plain" and _library() is not None


def name(*, K: int = 1024, D: int = 64) -> str:
    """The kernel in use for ``K`` codes of ``D`` channels: "generic", "avx2", "avx512" or "amx".

    Raises:
        BadSetting: SPEECHVQ_KERNEL names none of them, or one that this machine cannot run.
    """
    found = _loaded().speechvq_kernel_name(_asked(), K, D)
    if found is None:
        raise _bad_kernel()
    return found.decode()


@torch.no_grad()
def nearest(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    """Index (N,) int64 of the Euclidean-nearest row of ``codes_KD`` for every row of ``x_ND``.

    Both float32 on a CPU. Ties go to the lowest index; a vector that is not finite gets some index.

    Raises:
        BadSetting: SPEECHVQ_KERNEL names a kernel that this machine cannot run.
        ValueError: the shapes, types or devices are others.
    """
    x_ND, codes_KD = _rows(x_ND), _rows(codes_KD).contiguous()
    (N, D), K = x_ND.shape, len(codes_KD)
    _check_codes(codes_KD, K, D)
    indices_N = torch.empty(N, dtype=torch.int64)
    _check_status(
        _loaded().speechvq_nearest(
            _asked(), torch.get_num_threads(), x_ND.data_ptr(), x_ND.stride(0), N, D,
            codes_KD.data_ptr(), K, indices_N.data_ptr(),
        )
    )  # fmt: skip
    return indices_N


@torch.no_grad()
def walk(
    x_ND: Tensor,
    books: list[Tensor],
    *,
    visits: int = 1,
    depths_N: Tensor | None = None,
    sums: bool = False,
    gram: bool | None = None,
) -> Walk:
    """What `speechvq.kernels.plain.walk` does for float32 on a CPU, in one pass over the memory.

    ``gram``: whether the scores of one book for all depths come out of its Gram matrix; by default where
    that is faster. The indices are the same.

    Raises:
        BadSetting: SPEECHVQ_KERNEL names a kernel that this machine cannot run.
        ValueError: the shapes, types or devices are others.
    """
    x_ND = _rows(x_ND)
    (N, D), K = x_ND.shape, len(books[0])
    indices = torch.empty(visits, N, dtype=torch.int64)
    out = Walk(
        indices=indices,
        total=torch.empty(N, D),
        pull=torch.empty(N, D),
        counts=torch.empty(visits, K),
        sums=torch.empty(len(books), K, D) if sums else torch.empty(0),
        errors=torch.empty(visits),
        moments=torch.empty(3 + D),
    )
    _call_walk(x_ND, books, visits, gram, depths_N, [t.data_ptr() or None for t in out])
    return out


@torch.no_grad()
def encode(x_ND: Tensor, books: list[Tensor], *, visits: int = 1, gram: bool | None = None) -> Tensor:
    """The indices (V, N) of `walk` alone, for less time and memory; raises what it raises."""
    x_ND = _rows(x_ND)
    indices = torch.empty(visits, len(x_ND), dtype=torch.int64)
    _call_walk(x_ND, books, visits, gram, None, [indices.data_ptr()] + [None] * 6)
    return indices


def _call_walk(
    x_ND: Tensor,
    books: list[Tensor],
    visits: int,
    gram: bool | None,
    depths_N: Tensor | None,
    results: list[int | None],
) -> None:
    (N, D), K = x_ND.shape, len(books[0])
    books = [_rows(book).contiguous() for book in books]
    for book in books:
        _check_codes(book, K, D)
    if visits < 1 or len(books) not in (1, visits):
        raise ValueError(f"{visits} visits need as many books, or one for all of them, not {len(books)}")
    if depths_N is not None:
        if depths_N.shape != (N,) or depths_N.device.type != "cpu":
            raise ValueError(f"depths must be ({N},) on the CPU, not {tuple(depths_N.shape)}")
        depths_N = depths_N.to(torch.int64).contiguous()
    pointers = (c_void_p * len(books))(*(book.data_ptr() for book in books))
    depths = None if depths_N is None else depths_N.data_ptr()
    _check_status(
        _loaded().speechvq_walk(
            _asked(), torch.get_num_threads(), x_ND.data_ptr(), x_ND.stride(0), N, D,
            pointers, len(books), K, visits, -1 if gram is None else gram, depths, *results,
        )
    )  # fmt: skip


def _rows(x_ND: Tensor) -> Tensor:
    """``x_ND`` with the channels of a row side by side; the rows may lie apart."""
    if x_ND.dtype != torch.float32 or x_ND.device.type != "cpu" or x_ND.dim() != 2:
        raise ValueError(f"needs float32 rows on the CPU, not {x_ND.dtype} of {tuple(x_ND.shape)}")
    return x_ND if x_ND.stride(1) == 1 or x_ND.shape[1] == 1 else x_ND.contiguous()


def _check_codes(codes_KD: Tensor, K: int, D: int) -> None:
    if codes_KD.shape != (K, D) or K == 0 or D == 0:
        raise ValueError(f"needs codes ({K}, {D}), at least one of them, not {tuple(codes_KD.shape)}")


def _asked() -> bytes | None:
    asked = os.environ.get(VARIABLE)
    return asked.encode() if asked else None


def _bad_kernel() -> BadSetting:
    known = [kernel for kernel in KERNELS if _loaded().speechvq_kernel_name(kernel.encode(), 1, 1)]
    return BadSetting(
        f"{VARIABLE}={os.environ.get(VARIABLE)} is no kernel that this machine can run; "
        f"choose one of {', '.join(known)} or plain, or unset it"
    )


def _check_status(status: int) -> None:
    if status == 1:
        raise MemoryError("not enough memory for the search for codes: give it fewer vectors at a time")
    if status == 2:
        raise _bad_kernel()


def load(path: Path) -> ctypes.CDLL | None:
    """The library in the file ``path``; without one that can be used, a warning in the log and None."""
    try:
        if not path.is_file():
            raise OSError("it is not there")
        if SOURCES.is_dir() and carried(path) != fingerprint():
            raise OSError("it was made from other sources")
        library = ctypes.CDLL(str(path))
    except OSError as error:
        log.warning("searching for codes by plain torch, which is slower: %s: %s; %s", path, error, REMEDY)
        return None
    library.speechvq_kernel_name.argtypes = [c_char_p, c_int64, c_int64]
    library.speechvq_kernel_name.restype = c_char_p
    rows = [c_char_p, c_int64, c_void_p, c_int64, c_int64, c_int64]
    library.speechvq_nearest.argtypes = [*rows, c_void_p, c_int64, c_void_p]
    library.speechvq_walk.argtypes = [*rows, c_void_p, *[c_int64] * 4, *[c_void_p] * 8]
    library.speechvq_nearest.restype = library.speechvq_walk.restype = c_int
    return library


@cache
def _library() -> ctypes.CDLL | None:
    return load(LIBRARY)


def _loaded() -> ctypes.CDLL:
    library = _library()
    if library is None:
        raise BadSetting(f"the compiled kernels are missing: {REMEDY}, or check available() first")
    return library
