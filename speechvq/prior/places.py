"""Where something is in a picture, as integers that a prior can be told.

Coordinates of every place ("Taming Transformers for High-Resolution Image Synthesis", Esser et al. 2021,
section 3.2, for crops of larger pictures), and points such as keypoints or corners of boxes.
"""

import math

import torch
from torch import Tensor


def coordinates(
    grid: tuple[int, ...],
    *,
    hop: int,
    size: int,
    whole: tuple[int, ...] | None = None,
    corner: tuple[int, ...] | None = None,
) -> Tensor:
    """Where each place lies in a picture: the mean raster index of its pixels, as an integer.

    Args:
        grid: places.
        hop: pixels a side per place.
        size: how many integers there are for all of the picture.
        whole: pixels of the picture on each axis; None if the grid is all of it.
        corner: its pixel that the grid begins with; None for the first.

    Returns:
        (*grid) int64 in [0, size).
    """
    whole = tuple(hop * places for places in grid) if whole is None else whole
    corner = (0,) * len(grid) if corner is None else corner
    index = torch.zeros((), dtype=torch.float64)
    for places, pixels, first in zip(grid, whole, corner, strict=True):
        middle = first + hop * torch.arange(places, dtype=torch.float64) + (hop - 1) / 2
        index = index[..., None] * pixels + middle
    return (index / math.prod(whole) * size).round().clamp(0, size - 1).long()


def points(places: Tensor, *, size: int) -> Tensor:
    """Points of a picture as integers, such as keypoints, for a condition of the kind "tokens".

    "High-Resolution Complex Scene Synthesis with Transformers" (Jahn et al. 2021): the picture
    is divided by as fine a square lattice as there are integers for.

    Args:
        places: (B, n, 2), from the top and from the left, in [0, 1]; not a number for a point that is not
            there, which becomes the last integer.
        size: how many integers there are, at least 2.

    Returns:
        (B, n) int64 in [0, size).
    """
    side = math.isqrt(size - 1)
    down, right = (places.nan_to_num(0).clamp(0, 1) * (side - 1)).round().long().unbind(-1)
    return (down * side + right).masked_fill(places.isnan().any(-1), size - 1)
