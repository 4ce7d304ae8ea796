"""Squares of latents folded into one vector each, so that codes are coarser than the latents.

RQ-VAE (Lee et al. 2022), published code: the channels of a folded vector are those of the square's latents
one after the other, row by row.
"""

from torch import Tensor

from speechvq.errors import BadSetting


def fold(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, side * side * C, H // side, W // side); rows and columns left over are dropped."""
    if side == 1:
        return x
    B, C, H, W = x.shape
    h, w = H // side, W // side
    squares = x[..., : h * side, : w * side].reshape(B, C, h, side, w, side)
    return squares.permute(0, 3, 5, 1, 2, 4).reshape(B, side * side * C, h, w)


def unfold(x: Tensor, side: int) -> Tensor:
    """The reverse: (B, side * side * C, h, w) to (B, C, h * side, w * side)."""
    if side == 1:
        return x
    B, _, h, w = x.shape
    squares = x.reshape(B, side, side, -1, h, w)
    return squares.permute(0, 3, 4, 1, 5, 2).reshape(B, -1, h * side, w * side)


def per_latent(dim: int, side: int) -> int:
    """Channels of each of the latents that make a vector of ``dim``.

    Raises:
        BadSetting: they cannot be alike.
    """
    if side < 1 or dim % (side * side):
        raise BadSetting(f"vectors of {dim} channels cannot hold {side} x {side} latents of equal channels")
    return dim // (side * side)
