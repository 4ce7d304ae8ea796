"""Pictures of several sizes in one batch: each is in the upper left of its row, and seen as if alone.

Networks with norms or attention over a whole picture would otherwise see what is not there.
"""

from collections.abc import Callable

from torch import Tensor


def sizes_of(mask: Tensor) -> list[tuple[int, int]]:
    """Valid rows and columns of each item of a mask (B, H, W)."""
    return [(int(m.any(1).sum()), int(m.any(0).sum())) for m in mask.cpu()]


def one_by_one(
    net: Callable[[Tensor], Tensor],
    x: Tensor,
    sizes: list[tuple[int, int]],
    whole: tuple[int, ...],
    channels: int,
) -> Tensor:
    """``net`` of the upper left part of each row of ``x``, with zeros around it up to ``whole``.

    Args:
        net: (1, C, h, w) to (1, channels, h', w').
        x: (B, C, H, W).
        sizes: (h, w) of each row; where one of them is 0, the row becomes zeros.
        whole: height and width of what comes out.
        channels: of what comes out.

    Returns:
        (B, channels, *whole).
    """
    made = x.new_zeros(len(x), channels, *whole)
    for row, (height, width) in enumerate(sizes):
        if height and width:
            part = net(x[row : row + 1, :, :height, :width])[0]
            made[row, :, : part.shape[1], : part.shape[2]] = part
    return made


def weight_of(like: Tensor, sizes: list[tuple[int, int]] | None) -> Tensor:
    """(B, 1, H, W) for ``like`` (B, C, H, W): 1 in the upper left (h, w) of each row, else 0."""
    weight = like.new_ones(len(like), 1, *like.shape[2:])
    for row, (height, width) in enumerate(sizes or ()):
        weight[row, :, height:] = 0
        weight[row, :, :, width:] = 0
    return weight
