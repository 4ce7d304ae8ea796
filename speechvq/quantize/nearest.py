"""The nearest code of each vector, without ever holding the N x K matrix of distances.

Legend: N vectors, K codes, D channels, T vectors of one tile.

argmin_k |x - c_k|^2 = argmin_k (|c_k|^2 / 2 - x.c_k), one matrix product a tile. The expanded form
cancels when vectors and codes share a large offset, so both are first moved to the codes' middle.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

TILE_SCORES = {"cpu": 1 << 20}
"""Scores a tile may hold, by device type: 4 MiB stays in a CPU's cache."""
TILE_SCORES_ELSEWHERE = 1 << 24


@torch.no_grad()
def nearest(x_ND: Tensor, codes_KD: Tensor, *, tile: int | None = None) -> Tensor:
    """Index (N,) int64 of the Euclidean-nearest row of ``codes_KD`` for every row of ``x_ND``.

    Computed in float32 (float64 if the codes are) under any autocast and any matmul precision
    setting; ties go to the lowest index. ``tile`` is how many vectors are scored at a time; by
    default as many as `TILE_SCORES` allows. A vector that is not finite gets some index.
    """
    with torch.autocast(x_ND.device.type, enabled=False), _exact_products():
        codes_KD = codes_KD if codes_KD.dtype == torch.float64 else codes_KD.float()
        middle_D = _middle(codes_KD)
        centred_KD = codes_KD - middle_D
        half_K = centred_KD.square().sum(1) / 2
        N, K = len(x_ND), len(codes_KD)
        if tile is None:
            tile = max(1, TILE_SCORES.get(x_ND.device.type, TILE_SCORES_ELSEWHERE) // K)
        indices_N = torch.empty(N, dtype=torch.int64, device=x_ND.device)
        for first in range(0, N, tile):
            x_TD = x_ND[first : first + tile].to(codes_KD.dtype) - middle_D
            scores_TK = torch.addmm(half_K, x_TD, centred_KD.T, alpha=-1)
            torch.argmin(scores_TK, dim=1, out=indices_N[first : first + tile])
        return indices_N


def _middle(codes_KD: Tensor) -> Tensor:
    """About the mean of the codes (D,), on a grid as coarse as the codes are spread.

    A power-of-two grid makes the subtraction exact wherever it matters little, so that exact ties
    stay ties; where the offset is small against the spread it is zero.
    """
    mean_D = codes_KD.mean(0)
    spread = (codes_KD - mean_D).abs().amax().clamp(min=1e-30)
    step = torch.exp2(torch.ceil(torch.log2(spread)))
    return torch.round(mean_D / step) * step


@contextmanager
def _exact_products() -> Iterator[None]:
    """Keep TF32 and bfloat16 out of float32 products, whatever the program has allowed."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
