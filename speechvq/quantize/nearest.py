"""The nearest code of each vector, by the fastest means there is: which kernel answers.

On a CPU the compiled one if it was built, on a GPU the Triton one, else plain torch; all three give
the same indices. Under torch.compile and torch.export each call is one node of the graph, whatever
kernel answers when it runs.
"""

import torch
from torch import Tensor

from speechvq.kernels import gpu, native, plain
from speechvq.kernels.plain import Walk

__all__ = ["Walk", "choose", "nearest", "walk"]


def nearest(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    """Index (N,) int64 of the Euclidean-nearest row of ``codes_KD`` for every row of ``x_ND``.

    Computed in float32 (float64 if the codes are) under any autocast; ties go to the lowest index.
    A vector that is not finite gets some index.
    """
    x_ND, codes_KD = x_ND.detach(), codes_KD.detach()
    if torch.compiler.is_compiling():
        return _nearest_node(x_ND, codes_KD)
    return _nearest(x_ND, codes_KD)


def choose(x_ND: Tensor, books: list[Tensor], *, visits: int = 1) -> Tensor:
    """The indices (visits, N) of `walk` alone, for less time and memory."""
    x_ND, books = x_ND.detach(), [book.detach() for book in books]
    if visits == 1:
        return nearest(x_ND, books[0])[None]
    if torch.compiler.is_compiling():
        return _walk_node(x_ND, books, visits, None, False, 0.0)[0]
    if _native(x_ND, books[0]):
        return native.encode(x_ND, books, visits=visits)
    return _walk(x_ND, books, visits, None, False, 0.0).indices


def walk(
    x_ND: Tensor,
    books: list[Tensor],
    *,
    visits: int = 1,
    depths_N: Tensor | None = None,
    sums: bool = False,
    temperature: float = 0.0,
) -> Walk:
    """Walk ``x_ND`` through ``visits`` depths of ``books``; see `speechvq.kernels.plain.walk`."""
    x_ND, books = x_ND.detach(), [book.detach() for book in books]
    if torch.compiler.is_compiling():
        return Walk(*_walk_node(x_ND, books, visits, depths_N, sums, temperature))
    return _walk(x_ND, books, visits, depths_N, sums, temperature)


def _nearest(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    if _native(x_ND, codes_KD):
        return native.nearest(x_ND, codes_KD)
    if codes_KD.dtype == torch.float32 and gpu.usable(x_ND):
        return gpu.nearest(x_ND, codes_KD)
    return plain.nearest(x_ND, codes_KD)


def _walk(
    x_ND: Tensor, books: list[Tensor], visits: int, depths_N: Tensor | None, sums: bool, temperature: float
) -> Walk:
    if temperature == 0 and _native(x_ND, books[0]):
        return native.walk(x_ND, books, visits=visits, depths_N=depths_N, sums=sums)
    find = gpu.nearest if books[0].dtype == torch.float32 and gpu.usable(x_ND) else None
    find = None if temperature else find
    return plain.walk(
        x_ND, books, visits=visits, depths_N=depths_N, sums=sums, temperature=temperature, find=find
    )


def _native(x_ND: Tensor, codes_KD: Tensor) -> bool:
    """Whether the compiled kernel takes these."""
    on_cpu = x_ND.device.type == "cpu"
    return on_cpu and x_ND.dtype == codes_KD.dtype == torch.float32 and native.available()


@torch.library.custom_op("speechvq::nearest", mutates_args=())
def _nearest_node(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    return _nearest(x_ND, codes_KD)


@_nearest_node.register_fake
def _(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    return x_ND.new_empty(x_ND.shape[0], dtype=torch.int64)


@torch.library.custom_op("speechvq::walk", mutates_args=())
def _walk_node(
    x_ND: Tensor, books: list[Tensor], visits: int, depths_N: Tensor | None, sums: bool, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    w = _walk(x_ND, books, visits, depths_N, sums, temperature)
    return w.indices, w.total, w.pull, w.counts, w.sums, w.errors, w.moments


@_walk_node.register_fake
def _(
    x_ND: Tensor, books: list[Tensor], visits: int, depths_N: Tensor | None, sums: bool, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (N, D), K = x_ND.shape, len(books[0])
    return (
        x_ND.new_empty(visits, N, dtype=torch.int64),
        x_ND.new_empty(N, D),
        x_ND.new_empty(N, D),
        x_ND.new_empty(visits, K),
        x_ND.new_empty((len(books), K, D) if sums else (0,)),
        x_ND.new_empty(visits),
        x_ND.new_empty(3 + D),
    )
