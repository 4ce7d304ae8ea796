"""The search in plain torch: any device, any float type; what every faster kernel is held to.

Legend: N vectors, K codes, D channels, V visits (depths of a residual walk), T vectors of one tile.

argmin_k |x - c_k|^2 = argmin_k (|c_k|^2 / 2 - x.c_k), one matrix product a tile: the N x K matrix of
distances never exists. The expanded form cancels when vectors and codes share a large offset, so both
are first moved to the codes' middle.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

TILE_SCORES = {"cpu": 1 << 20}
"""Scores a tile may hold, by device type: 4 MiB stays in a CPU's cache."""
TILE_SCORES_ELSEWHERE = 1 << 24

TILE_SCORES_A_CHANNEL = 8
"""So that the rows of a walk's tile, which are gone over many times, stay in the cache as well."""


class Walk(NamedTuple):
    """What a walk of N vectors through V codebooks found."""

    indices: Tensor
    """(V, N) int64, the chosen codes; -1 where the vector does not walk that depth."""
    total: Tensor
    """(N, D), the sum of the chosen codes, added in the order of the depths."""
    pull: Tensor
    """(N, D), the sum over the depths of what was left after each: half the gradient of the errors."""
    counts: Tensor
    """(V, K), how many finite vectors chose each code."""
    sums: Tensor
    """(number of books, K, D), the sum of what chose each code; (0,) when not wanted."""
    errors: Tensor
    """(V,), the summed squared length of what was left after each depth."""
    moments: Tensor
    """(3 + D,) over the finite vectors: their number, the sum of |x - total|^2, and, from the mean a
    of the first book, the sum of |x - a|^2 and the sum of x - a."""


@torch.no_grad()
def nearest(x_ND: Tensor, codes_KD: Tensor, *, tile: int | None = None) -> Tensor:
    """Index (N,) int64 of the Euclidean-nearest row of ``codes_KD`` for every row of ``x_ND``.

    Computed in float32 (float64 if the codes are) under any autocast and any matmul precision
    setting; ties go to the lowest index. ``tile`` is how many vectors are scored at a time; by
    default as many as `TILE_SCORES` allows. A vector that is not finite gets some index.
    """
    with exact(x_ND.device.type):
        scores = Scores(codes_KD)
        indices_N = torch.empty(len(x_ND), dtype=torch.int64, device=x_ND.device)
        for part in tiles(x_ND, len(codes_KD), tile):
            torch.argmin(scores(x_ND[part]), dim=1, out=indices_N[part])
        return indices_N


@torch.no_grad()
def walk(
    x_ND: Tensor,
    books: list[Tensor],
    *,
    visits: int = 1,
    depths_N: Tensor | None = None,
    sums: bool = False,
    temperature: float = 0.0,
    find: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Walk:
    """Quantize ``x_ND`` by the codes of ``visits`` depths, each quantizing what the ones before left.

    Depth v uses ``books[v]`` (K, D), or ``books[0]`` every time if there is only one. Row n walks its
    first ``depths_N[n]`` depths, none if 0 (padding). With a ``temperature`` above 0 codes are drawn
    from softmax(-|x - c|^2 / temperature) instead of being the nearest. ``find(rows, codes)`` is a
    faster search that needs no tiles. Rows that are not finite count for ``errors`` only.
    """
    x_ND = x_ND.detach()
    with exact(x_ND.device.type):
        K, (N, D) = len(books[0]), x_ND.shape
        shape = (len(books), K, D) if sums else (0,)
        out = Walk(
            indices=torch.full((visits, N), -1, dtype=torch.int64, device=x_ND.device),
            total=torch.zeros_like(x_ND, memory_format=torch.contiguous_format),
            pull=torch.zeros_like(x_ND, memory_format=torch.contiguous_format),
            counts=x_ND.new_zeros(visits, K),
            sums=x_ND.new_zeros(shape),
            errors=x_ND.new_zeros(visits, dtype=torch.float64),
            moments=x_ND.new_zeros(3 + D, dtype=torch.float64),
        )
        searches = [_search(book, temperature, find) for book in books]
        anchor_D = books[0].mean(0)
        for part in [slice(0, N)] if find else tiles(x_ND, max(K, TILE_SCORES_A_CHANNEL * D), None):
            depths_T = None if depths_N is None else depths_N[part]
            _walk_tile(x_ND[part], depths_T, books, searches, _rows(out, part), anchor_D)
        return out._replace(errors=out.errors.to(x_ND.dtype), moments=out.moments.to(x_ND.dtype))


def _rows(out: Walk, part: slice) -> Walk:
    """The same walk, showing only some of its rows."""
    return out._replace(indices=out.indices[:, part], total=out.total[part], pull=out.pull[part])


def _walk_tile(
    x_TD: Tensor,
    depths_T: Tensor | None,
    books: list[Tensor],
    searches: list[Callable[[Tensor], Tensor]],
    out: Walk,
    anchor_D: Tensor,
) -> None:
    """All depths for one tile of rows; writes into ``out``, whose rows are the tile's."""
    finite_T = x_TD.sum(1).isfinite()
    left_TD = x_TD
    for v in range(len(out.indices)):
        b = v if len(books) > 1 else 0
        indices_T = searches[b](left_TD)
        codes_TD = books[b][indices_T]
        walks_T = None if depths_T is None else depths_T > v
        if walks_T is not None:
            codes_TD = torch.where(walks_T[:, None], codes_TD, 0)
        counted_T = finite_T if walks_T is None else finite_T & walks_T
        out.indices[v] = indices_T if walks_T is None else torch.where(walks_T, indices_T, -1)
        out.counts[v].index_add_(0, indices_T, counted_T.to(x_TD.dtype))
        if out.sums.numel():
            out.sums[b].index_add_(0, indices_T, torch.where(counted_T[:, None], left_TD, 0))
        left_TD = left_TD - codes_TD
        after_TD = left_TD if walks_T is None else torch.where(walks_T[:, None], left_TD, 0)
        out.errors[v] += after_TD.square().sum()
        out.total.add_(codes_TD)
        out.pull.add_(after_TD)
    if depths_T is not None:
        finite_T = finite_T & (depths_T > 0)
    error_TD = torch.where(finite_T[:, None], x_TD - out.total, 0)
    moved_TD = torch.where(finite_T[:, None], x_TD - anchor_D, 0)
    out.moments[0] += finite_T.sum()
    out.moments[1] += error_TD.square().sum()
    out.moments[2] += moved_TD.square().sum()
    out.moments[3:] += moved_TD.sum(0)


class Scores:
    """|c_k|^2 / 2 - x.c_k for rows x, both from the codes' middle."""

    def __init__(self, codes_KD: Tensor) -> None:
        codes_KD = codes_KD if codes_KD.dtype == torch.float64 else codes_KD.float()
        self.middle_D = middle(codes_KD)
        self.codes_KD = codes_KD - self.middle_D
        self.half_K = self.codes_KD.square().sum(1) / 2

    def __call__(self, x_TD: Tensor) -> Tensor:
        """Scores (T, K)."""
        x_TD = x_TD.to(self.codes_KD.dtype) - self.middle_D
        return torch.addmm(self.half_K, x_TD, self.codes_KD.T, alpha=-1)


def _search(
    codes_KD: Tensor, temperature: float, find: Callable[[Tensor, Tensor], Tensor] | None
) -> Callable[[Tensor], Tensor]:
    """The function from rows (T, D) to indices (T,) of one book."""
    if find is not None and temperature == 0:
        return lambda x_TD: find(x_TD, codes_KD)
    scores = Scores(codes_KD)
    if temperature == 0:
        return lambda x_TD: scores(x_TD).argmin(1)

    def draw(x_TD: Tensor) -> Tensor:
        # The largest of logit + Gumbel noise is a draw from the softmax; -log(Exp(1)) is Gumbel noise.
        scores_TK = scores(x_TD).mul_(2 / temperature)
        return scores_TK.add_(torch.empty_like(scores_TK).exponential_().log_()).argmin(1)

    return draw


def middle(codes_KD: Tensor) -> Tensor:
    """About the mean of the codes (D,), on a grid as coarse as the codes are spread.

    A power-of-two grid makes the subtraction exact wherever it matters little, so that exact ties
    stay ties; where the offset is small against the spread it is zero.
    """
    mean_D = codes_KD.mean(0)
    spread = (codes_KD - mean_D).abs().amax().clamp(min=1e-30)
    step = torch.exp2(torch.ceil(torch.log2(spread)))
    return torch.round(mean_D / step) * step


def tiles(x_ND: Tensor, K: int, tile: int | None) -> Iterator[slice]:
    """The rows of ``x_ND`` in parts, so small that the scores of one part against K codes fit."""
    if tile is None:
        tile = max(1, TILE_SCORES.get(x_ND.device.type, TILE_SCORES_ELSEWHERE) // K)
    for first in range(0, len(x_ND), tile):
        yield slice(first, first + tile)


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Keep autocast, TF32 and bfloat16 out of float32 products, whatever the program has allowed."""
    before = torch.get_float32_matmul_precision()
    with torch.autocast(device, enabled=False):
        if before == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
