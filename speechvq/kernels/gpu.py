"""The nearest code on a GPU: one Triton kernel, and a faster pass that proves itself.

The default is float32 throughout. With ``precision="tf32"`` or ``"bfloat16"`` the tensor cores do a
first pass in that precision; a row whose two best scores are further apart than rounding can explain
keeps its index, and only the others are searched again in float32. So the indices are the same in
every precision, and the precision only decides how long it takes.

Nothing here reads a number back from the GPU, so that a CUDA graph can capture the search. The
kernels are in `speechvq.kernels.gpu_kernels`, which is imported at the first search: this file
imports without Triton.

Legend: N vectors, K codes, D channels; K' and D' are rounded up to whole tiles.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechvq.errors import BadSetting
from speechvq.kernels.plain import middle

PRECISIONS = ("float32", "tf32", "bfloat16")
"""Of the first pass. Indices do not depend on it."""
CODES = 128
"""Codes of a tile. In `exact` a warp then spans one row of scores: its reads of x from shared memory
are broadcasts and its reads of codes are contiguous, so that neither has bank conflicts."""
FAR = 3.0e38
"""|c|^2 / 2 of the codes that pad a tile."""


@dataclass(frozen=True)
class Found:
    """What a search found."""

    indices: Tensor
    """(N,) int64."""
    rescored: Tensor | None
    """(1,) int32, how many rows the first pass could not prove; None when there was no first pass."""


@dataclass(frozen=True)
class Tile:
    """What one program holds, and how it is run."""

    rows: int
    """Vectors of a program."""
    channels: int
    """Channels of a block, a power of two of at least 16: the least that a product takes."""
    warps: int
    """Groups of 32 threads a program."""
    stages: int
    """Depth of the pipeline of loads."""
    registers: int | None = None
    """Most registers a thread may use; None is the machine's limit."""

    def options(self) -> dict[str, int]:
        """The launch options of Triton."""
        options = {"num_warps": self.warps, "num_stages": self.stages}
        return options if self.registers is None else options | {"maxnreg": self.registers}


def usable(x: Tensor) -> bool:
    """Whether `nearest` can search for ``x``: float32 on an NVIDIA GPU (Ampere or newer), with Triton.

    Triton also wants a C compiler, for the stub through which it launches a kernel.
    """
    if not (x.is_cuda and x.dtype == torch.float32 and torch.version.cuda and _has_triton()):
        return False
    return torch.cuda.get_device_capability(x.device) >= (8, 0)


def nearest(x_ND: Tensor, codes_KD: Tensor, *, precision: str = "float32") -> Tensor:
    """Index (N,) int64 of the Euclidean-nearest row of ``codes_KD`` for every row of ``x_ND``.

    Both float32 on one GPU, ``x_ND`` with any strides. Ties go to the lowest index; a row that is
    not finite gets some index. ``precision`` is one of `PRECISIONS`; raises `BadSetting` otherwise.
    """
    return search(x_ND, codes_KD, precision=precision).indices


@torch.no_grad()
def search(x_ND: Tensor, codes_KD: Tensor, *, precision: str = "float32") -> Found:
    """As `nearest`, and how many rows had to be searched twice."""
    if precision not in PRECISIONS:
        raise BadSetting(f"the search has no precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    indices_N = torch.empty(len(x_ND), dtype=torch.int64, device=x_ND.device)
    if len(x_ND) == 0:
        return Found(indices_N, None)
    centred_KD, middle_D, half_K = _centred(codes_KD.float())
    with torch.cuda.device(x_ND.device) if x_ND.is_cuda else nullcontext():
        listed = None
        if precision != "float32":
            listed = _sift(x_ND, centred_KD, middle_D, half_K, indices_N, tf32=precision == "tf32")
        _exact(x_ND, centred_KD, middle_D, half_K, indices_N, listed)
    return Found(indices_N, None if listed is None else listed[1])


def exact_tile(N: int, *, processors: int, listed: bool) -> Tile:
    """The tile of the float32 search: 64 rows where there are rows enough for every multiprocessor.

    64 x 128 scores are 64 a thread, as many as fit beside the operands of a block of 16 channels
    without spilling (248 registers of 255), and two programs share a multiprocessor. A list of
    unproven rows is short, as far as one can know beforehand.
    """
    many = not listed and 96 * processors <= N
    return Tile(rows=64 if many else 32, channels=16, warps=4, stages=3)


def sift_tile(N: int, D: int, *, processors: int, tf32: bool) -> Tile:
    """The tile of the first pass: 128 rows, and all channels at once while they fit.

    128 rows, because codes come from the second-level cache as often as there are programs. Up to 512
    bytes of channels a row of y stays in registers as an operand of the tensor cores and codes are
    the only thing loaded; 2 or 3 tiles of them fill the shared memory. Where 128 registers are
    enough, two programs share a multiprocessor: one compares while the other multiplies.
    """
    size = 4 if tf32 else 2
    width = max(16, 1 << (D - 1).bit_length()) * size
    whole = width <= 512
    rows, warps = (128, 8) if 128 * processors <= N else (64, 4)
    return Tile(
        rows=rows,
        channels=width // size if whole else 32,
        warps=warps,
        stages=2 if whole and width > 256 else 3,
        registers=128 if whole and width <= 128 else None,
    )


def _centred(codes_KD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes from their middle, the middle, and half their squared norms with FAR up to K'."""
    middle_D = middle(codes_KD)
    centred_KD = codes_KD - middle_D
    half_K = centred_KD.square().sum(1) / 2
    return centred_KD, middle_D, pad(half_K, (0, -len(half_K) % CODES), value=FAR)


def _exact(
    x_ND: Tensor,
    centred_KD: Tensor,
    middle_D: Tensor,
    half_K: Tensor,
    out_N: Tensor,
    listed: tuple[Tensor, Tensor] | None,
) -> None:
    """Search all rows, or those of a list and its length; writes their indices into ``out_N``."""
    (N, D), K = x_ND.shape, len(centred_KD)
    tile = exact_tile(N, processors=_processors(x_ND.device), listed=listed is not None)
    more = -D % tile.channels
    codes_DK = x_ND.new_zeros(D + more, len(half_K))
    codes_DK[:D, :K] = centred_KD.T
    # Without a list its pointers are not read.
    rows, count = (out_N, out_N) if listed is None else listed
    tensors = (x_ND, codes_DK, half_K, pad(middle_D, (0, more)), rows, count, out_N)
    constants = {"ROWS": tile.rows, "CODES": CODES, "CHANNELS": tile.channels, "LISTED": listed is not None}
    _launch("exact", tensors, (N, K, D, *x_ND.stride()), tile, constants)


def _sift(
    x_ND: Tensor, centred_KD: Tensor, middle_D: Tensor, half_K: Tensor, out_N: Tensor, *, tf32: bool
) -> tuple[Tensor, Tensor]:
    """The first pass: writes all indices into ``out_N``; the rows not proven, and their number."""
    (N, D), K = x_ND.shape, len(centred_KD)
    tile = sift_tile(N, D, processors=_processors(x_ND.device), tf32=tf32)
    more = -D % tile.channels
    low_KD = _to_tf32(centred_KD) if tf32 else centred_KD.bfloat16()
    reach = torch.stack((2 * half_K[:K].amax(), (centred_KD - low_KD.float()).square().sum(1).amax()))
    low_KD = pad(low_KD, (0, more, 0, len(half_K) - K))
    rows = torch.empty(N, dtype=torch.int32, device=x_ND.device)
    count = torch.zeros(1, dtype=torch.int32, device=x_ND.device)
    tensors = (x_ND, low_KD, half_K, pad(middle_D, (0, more)), reach, rows, count, out_N)
    constants = {"ROWS": tile.rows, "CODES": CODES, "CHANNELS": tile.channels}
    constants |= {"WHOLE": tile.channels >= D, "TF32": tf32}
    _launch("sift", tensors, (N, K, D, *x_ND.stride()), tile, constants)
    return rows, count


def _launch(
    name: str, tensors: tuple[Tensor, ...], sizes: tuple[int, ...], tile: Tile, constants: dict[str, Any]
) -> None:
    """Run a kernel over all rows."""
    kernel = getattr(_kernels(), name)
    kernel[(-(-sizes[0] // tile.rows),)](*tensors, *sizes, **constants, **tile.options())


def _to_tf32(x: Tensor) -> Tensor:
    """The nearest numbers with 10 bits behind the point, as the tensor cores keep them."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


@cache
def _processors(device: torch.device) -> int:
    """How many multiprocessors the GPU has; where kernels are interpreted, one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@cache
def _has_triton() -> bool:
    compiler = os.environ.get("CC") or which("clang") or which("gcc")
    return bool(compiler) and find_spec("triton") is not None


@cache
def _kernels() -> ModuleType:
    return import_module("speechvq.kernels.gpu_kernels")
