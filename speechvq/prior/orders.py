"""In which order the places of a picture are written: a closed table.

"Taming Transformers for High-Resolution Image Synthesis" (Esser et al. 2021)
compares these; row by row is the best of them, and the only one in which a window can slide over a picture
that is larger. Each order lists raster places, the first to be written first.

- raster: row by row. alternate: the same, every second row backwards.
- z-curve: the bits of row and column taken in turns, the highest first (Morton's order).
- subsample: the same bits, the lowest first: coarse grids one after the other, shifted.
- spiral-in: from the last place up, left, down and right along the rim, then the rim inside it.
  spiral-out: backwards.
- random: one permutation for each grid, always the same.
"""

from functools import lru_cache

import torch
from torch import Tensor

from speechvq.errors import BadSetting, UnknownName


def _alternate(height: int, width: int) -> list[int]:
    return [i * width + (width - 1 - j if i % 2 else j) for i in range(height) for j in range(width)]


def _bits(height: int, width: int, *, high_first: bool) -> list[int]:
    """Places sorted by the bits of row and column in turns."""
    bits = range(max(height, width).bit_length())
    turns = list(reversed(bits)) if high_first else list(bits)

    def key(place: int) -> list[int]:
        i, j = divmod(place, width)
        return [number >> bit & 1 for bit in turns for number in (i, j)]

    return sorted(range(height * width), key=key)


def _inwards(height: int, width: int) -> list[int]:
    """Rim after rim."""
    top, bottom, left, right, places = 0, height - 1, 0, width - 1, []
    while top <= bottom and left <= right:
        rim = [(i, right) for i in range(bottom, top - 1, -1)]
        rim += [(top, j) for j in range(right - 1, left - 1, -1)]
        if left < right:
            rim += [(i, left) for i in range(top + 1, bottom + 1)]
        if top < bottom:
            rim += [(bottom, j) for j in range(left + 1, right)]
        places += [i * width + j for i, j in rim]
        top, bottom, left, right = top + 1, bottom - 1, left + 1, right - 1
    return places


def _random(height: int, width: int) -> list[int]:
    return torch.randperm(height * width, generator=torch.Generator().manual_seed(1)).tolist()


ORDERS = {
    "raster": lambda height, width: list(range(height * width)),
    "alternate": _alternate,
    "z-curve": lambda height, width: _bits(height, width, high_first=True),
    "subsample": lambda height, width: _bits(height, width, high_first=False),
    "spiral-in": _inwards,
    "spiral-out": lambda height, width: _inwards(height, width)[::-1],
    "random": _random,
}


@lru_cache(maxsize=64)
def order(name: str, grid: tuple[int, ...]) -> Tensor:
    """The raster places (places,) of a grid in the order in which they are written; not to be changed.

    Args:
        name: one of `ORDERS`.
        grid: (H, W); of any length for "raster".

    Raises:
        UnknownName: no such order.
        BadSetting: another order than "raster" on a grid that is no picture's.
    """
    if name not in ORDERS:
        raise UnknownName("order", name, list(ORDERS))
    if name == "raster":
        return torch.arange(torch.Size(grid).numel())
    if len(grid) != 2:
        raise BadSetting(f"the order {name} is for pictures, and the grid {grid} has not two axes")
    return torch.tensor(ORDERS[name](*grid), dtype=torch.int64)


def placed(values: Tensor, places: Tensor) -> Tensor:
    """(B, K, *grid) with the value of raster place ``places[i]`` at i."""
    grid = values.shape[2:]
    return values.flatten(2)[:, :, places.to(values.device)].unflatten(2, grid)
