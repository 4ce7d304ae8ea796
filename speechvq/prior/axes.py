"""Where a code lies, as a sum of learned vectors: one for its row and one for its column, on any grid.

"Vector-quantized Image Modeling with Improved VQGAN" (Yu et al. 2022): what a transformer that
reads pictures in a row is told of two dimensions.
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting


class Axes(nn.Module):
    """A table for each axis of a window."""

    def __init__(self, window: tuple[int, ...], width: int) -> None:
        """For grids of up to ``window`` places on each axis; vectors of ``width`` channels."""
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(places, width) for places in window)
        for table in self.parameters():
            nn.init.normal_(table, std=0.02)

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """Vectors (P, width) of all places of a grid, in raster order.

        Raises:
            BadSetting: the grid has other axes than the window, or longer ones.
        """
        tables = list(self.parameters())
        window = tuple(map(len, tables))
        if len(grid) != len(window) or any(n > most for n, most in zip(grid, window, strict=True)):
            raise BadSetting(
                f"this prior has learned positions by row and column in a window of {window} places, and the "
                f"grid {tuple(grid)} is no part of one"
            )
        axes = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
        return torch.stack([table[at.flatten()] for table, at in zip(tables, axes, strict=True)]).sum(0)
