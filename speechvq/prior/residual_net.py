"""The two transformers of `speechvq.prior.residual`: over places, and over the depths of each.

Legend: B items, T places of a grid, K depths, C channels of a codebook's vectors, E of the network, n places
of what is told first.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.nets.transformer import Block, turns_of
from speechvq.prior.residual_settings import Sizes


@dataclass(frozen=True)
class Telling:
    """What the network is told before the codes.

    Attributes:
        begin: (B, n, E), the first it reads.
        everywhere: (B, E), added to what it reads of each place; None for nothing.
    """

    begin: Tensor
    everywhere: Tensor | None = None


class ResidualNet(nn.Module):
    """Vectors of codes to what is known of each code before it is seen."""

    def __init__(
        self, sizes: Sizes, *, num_codebooks: int, grid: tuple[int, ...], channels: int, begin: int
    ) -> None:
        """Build both.

        Args:
            sizes: widths and depths.
            num_codebooks: K.
            grid: whose places get a learned position; empty for positions that turn.
            channels: C of the vectors; 0 if they are E wide already.
            begin: n.
        """
        super().__init__()
        width = sizes.width
        self.grid, self.num_codebooks = grid, num_codebooks
        self.at_begin = _positions(begin, width)
        self.at_place = _positions(math.prod(grid), width) if grid else None
        self.at_depth = _positions(num_codebooks, width)
        self.enter = nn.Linear(channels, width) if channels else None
        self.descend = nn.Linear(channels, width) if channels else None
        reach = begin + math.prod(grid) if grid else sizes.reach
        self.over_places = sizes.over_places(reach, turning=not grid)
        self.over_depths = sizes.over_depths(num_codebooks)
        self.places = nn.ModuleList(Block(self.over_places) for _ in range(sizes.places))
        self.depths = nn.ModuleList(Block(self.over_depths) for _ in range(sizes.depths))

    def forward(self, e_BTKC: Tensor, grid: tuple[int, ...], told: Telling) -> tuple[Tensor, Tensor]:
        """What is known before each code, and after each place of what was told.

        Args:
            e_BTKC: vectors of all codes, zero where there is none.
            grid: of the T places.
            told: before them.

        Returns:
            (B, T, K, E), without a norm, and (B, n, E).

        Raises:
            BadSetting: the grid is larger than the learned one.
        """
        x = torch.cat([told.begin, self.inputs(e_BTKC, grid, told)[:, :-1]], 1)
        turn = turns_of(self.over_places, x.shape[1], x.device)
        for block in self.places:
            x = block(x, turn)
        first = told.begin.shape[1]
        h_BTE = x[:, first - 1 : first - 1 + e_BTKC.shape[1]]
        above = e_BTKC[:, :, :-1].cumsum(2)
        v_BTKE = torch.cat([h_BTE[:, :, None], above if self.descend is None else self.descend(above)], 2)
        v = (v_BTKE + self.at_depth).flatten(0, 1)
        for block in self.depths:
            v = block(v, None)
        return v.view(v_BTKE.shape), x[:, :first]

    def inputs(self, e_BTKC: Tensor, grid: tuple[int, ...], told: Telling) -> Tensor:
        """What the transformer over places reads of places (B, T, E), all of a grid or its first."""
        x = e_BTKC.sum(2)
        if self.enter is not None:
            # The published code sums up after the layer, and so has its bias once for each depth.
            x = nn.functional.linear(x, self.enter.weight, self.num_codebooks * self.enter.bias)
        if told.everywhere is not None:
            x = x + told.everywhere[:, None]
        places = self.positions(grid)
        return x if places is None else x + places[: x.shape[1]]

    def positions(self, grid: tuple[int, ...]) -> Tensor | None:
        """The learned positions (T, E) of a grid, those of the same places in the learned one."""
        if self.at_place is None:
            return None
        fits = len(grid) == len(self.grid) and all(a <= b for a, b in zip(grid, self.grid, strict=True))
        if not fits:
            raise BadSetting(
                f"a grid {tuple(grid)} does not fit in the grid {self.grid} whose positions this prior "
                "learned; ask for less, or train one with a larger grid, or with none (positions that turn)"
            )
        table = self.at_place.view(*self.grid, -1)
        return table[tuple(slice(0, n) for n in grid)].flatten(0, -2)


def _positions(places: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(places, width).normal_(std=0.02))
