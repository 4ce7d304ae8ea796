"""A grid of vectors as plain rows and back: the one place that knows where the channels are."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.errors import BadCodes, BadSetting


@dataclass(frozen=True)
class Rows:
    """The vectors (B, D, *grid) of a batch as rows, N = B x grid of them.

    Attributes:
        x: (N, D) in the codebook's dtype, differentiable; zero where not valid.
        valid: (N,) bool, or None when all are valid.
        shape: the input's shape.
        dtype: the input's dtype.
    """

    x: Tensor
    valid: Tensor | None
    shape: torch.Size
    dtype: torch.dtype

    def depths(self, visits: int) -> Tensor | None:
        """How many of ``visits`` depths each row walks (N,): all, or none where it is not valid."""
        return None if self.valid is None else self.valid * visits

    def to_vectors(self, rows_ND: Tensor) -> Tensor:
        """Rows back to (B, D, *grid) in the input's dtype; zero where not valid."""
        if self.valid is not None:
            rows_ND = torch.where(self.valid[:, None], rows_ND, 0)
        B, _, *grid = self.shape
        D = rows_ND.shape[1]
        return rows_ND.to(self.dtype).reshape(B, *grid, D).movedim(-1, 1)

    def to_indices(self, indices_KN: Tensor) -> Tensor:
        """(K, N) to (B, K, *grid); -1 where not valid."""
        B, _, *grid = self.shape
        indices = indices_KN.reshape(len(indices_KN), B, *grid).movedim(0, 1)
        if self.valid is None:
            return indices
        return torch.where(self.valid.reshape(B, 1, *grid), indices, -1)


def to_rows(z: Tensor, mask: Tensor | None, dim: int, dtype: torch.dtype) -> Rows:
    """``z`` (B, dim, *grid) as rows of ``dtype``; ``mask`` (B, *grid) is True where valid.

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
    x_ND = z.movedim(1, -1).reshape(-1, dim).to(dtype)
    valid_N = None if mask is None else mask.reshape(-1).bool()
    if valid_N is not None:
        # Not a product: whatever stands in the padding, NaN included, must not get through.
        x_ND = torch.where(valid_N[:, None], x_ND, 0)
    return Rows(x_ND, valid_N, z.shape, z.dtype)


def look_up(books: list[Tensor], indices: Tensor, out: Callable[[Tensor], Tensor]) -> Tensor:
    """Vectors (B, D, *grid): ``out`` of the sum of the codes of ``indices`` (B, k, *grid).

    Depth v is looked up in ``books[v]`` (K, D), or always in the only one. Index -1 adds nothing;
    where the first depth has -1 the vector is zero.
    """
    B, depth, *grid = indices.shape
    total_ND = None
    for v in range(depth):
        indices_N = indices[:, v].reshape(-1)
        codes_ND = F.embedding(indices_N.clamp(min=0), books[v if len(books) > 1 else 0])
        codes_ND = torch.where((indices_N >= 0)[:, None], codes_ND, 0)
        total_ND = codes_ND if total_ND is None else total_ND + codes_ND
    assert total_ND is not None
    vectors_ND = torch.where((indices[:, 0].reshape(-1) >= 0)[:, None], out(total_ND), 0)
    return vectors_ND.reshape(B, *grid, vectors_ND.shape[1]).movedim(-1, 1)


def check_sizes(**sizes: int) -> None:
    """Every size must be a whole number from 1.

    Raises:
        BadSetting: one is not.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise BadSetting(f"the quantizer's {name} is {size}; it must be a whole number from 1")


def check_depth(indices: Tensor, num_codebooks: int, *, least: int = 1) -> None:
    """Indices (B, k, *grid) must come from ``least`` to ``num_codebooks`` codebooks.

    Raises:
        BadCodes: they do not.
    """
    if indices.ndim < 2 or not least <= indices.shape[1] <= num_codebooks:
        k = f"k from {least} to {num_codebooks}" if least < num_codebooks else f"k = {num_codebooks}"
        raise BadCodes(
            f"the codes are {tuple(indices.shape)}; this quantizer decodes (batch, k, *grid) with {k}: use "
            "the codec that made them"
        )


def never_half(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``fn``, what ``module.to`` does to a tensor, but without the cast to 16 bits if there is one.

    Running averages lose the codes' small steps in half precision.
    """

    def apply(tensor: Tensor) -> Tensor:
        moved = fn(tensor)
        return tensor.to(moved.device) if moved.dtype in (torch.float16, torch.bfloat16) else moved

    return apply
