"""A grid of vectors as plain rows and back: the one place that knows where the channels are."""

# ruff: noqa: N803, N806  (shape suffixes)
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Rows:
    """The vectors (B, D, *grid) of a batch as rows, N = B x grid of them.

    Attributes:
        x_ND: float32 (float64 for float64 input), differentiable; zero where not valid.
        valid_N: bool, or None when all are valid.
        shape: the input's shape.
        dtype: the input's dtype.
    """

    x_ND: Tensor
    valid_N: Tensor | None
    shape: torch.Size
    dtype: torch.dtype

    def to_vectors(self, rows_ND: Tensor) -> Tensor:
        """Rows back to (B, D, *grid) in the input's dtype; zero where not valid."""
        if self.valid_N is not None:
            rows_ND = torch.where(self.valid_N[:, None], rows_ND, 0)
        B, D, *grid = self.shape
        return rows_ND.to(self.dtype).reshape(B, *grid, D).movedim(-1, 1)

    def to_indices(self, indices_KN: list[Tensor]) -> Tensor:
        """One (N,) tensor a codebook to (B, K, *grid); -1 where not valid."""
        B, _, *grid = self.shape
        indices = torch.stack([i.reshape(B, *grid) for i in indices_KN], dim=1)
        if self.valid_N is None:
            return indices
        return torch.where(self.valid_N.reshape(B, 1, *grid), indices, -1)


def to_rows(z: Tensor, mask: Tensor | None, dim: int) -> Rows:
    """``z`` (B, dim, *grid) as rows; ``mask`` (B, *grid) is True where valid.

    Raises:
        BadSetting: the channels or the mask do not fit.
    """
    if z.ndim < 2 or z.shape[1] != dim:
        raise BadSetting(f"the quantizer takes (batch, {dim}, *grid), but got {tuple(z.shape)}")
    if mask is not None and mask.shape != z.shape[:1] + z.shape[2:]:
        raise BadSetting(
            f"the mask is {tuple(mask.shape)}; for vectors {tuple(z.shape)} it must be "
            f"{tuple(z.shape[:1] + z.shape[2:])}"
        )
    x_ND = z.movedim(1, -1).reshape(-1, dim)
    x_ND = x_ND if z.dtype == torch.float64 else x_ND.float()
    valid_N = None if mask is None else mask.reshape(-1).bool()
    if valid_N is not None:
        # Not a product: whatever stands in the padding, NaN included, must not get through.
        x_ND = torch.where(valid_N[:, None], x_ND, 0)
    return Rows(x_ND, valid_N, z.shape, z.dtype)


def look_up(vectors_KD: Tensor, indices: Tensor) -> Tensor:
    """Codes (B, D, *grid) of ``indices`` (B, *grid); zeros for index -1."""
    found = vectors_KD[indices.clamp(min=0)]
    return torch.where((indices >= 0).unsqueeze(-1), found, 0).movedim(-1, 1)
