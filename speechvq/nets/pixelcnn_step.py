"""The gated PixelCNN one place at a time, with weights laid out for it and without gradients.

The same sums as in `speechvq.nets.pixelcnn`. The vertical stack sees finished rows only, so it is run
once a row, for all places of the row together, and needs of each layer the last r rows of its input. The
horizontal stack is run place by place and needs of each layer the inputs of its row so far. So a place
costs what its layers cost, however large the grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.nets.pixelcnn import Layer, PixelCNN, gate


class State:
    """What is remembered of R grids of W columns in the midst of being written.

    Attributes:
        columns: W.
        above: for each layer (R, r, r + W + r, width), the rows of its input that v still sees, the oldest
            first, between columns of nothing.
        line: for each layer (R, r + W, width), its input in this row, after r places of nothing.
        told: for each layer (R, W, 2 width), what the gates of h add in this row.
        column: of the next place; W at the beginning and at the end of a row.
        begun: whether there is a row yet.
    """

    def __init__(self, columns: int, above: list[Tensor], line: list[Tensor]) -> None:
        """Zeros are the beginning of a grid."""
        self.columns, self.above, self.line = columns, above, line
        self.told = [torch.empty(0)] * len(line)
        self.column, self.begun = columns, False


class Steps:
    """A snapshot of a network: make it anew after the network was trained further."""

    def __init__(self, net: PixelCNN, conditions: Tensor | None = None) -> None:
        """Lay out the weights of ``net``, on its device; ``conditions`` are `PixelCNN.conditions`."""
        self.width = width = net.stacks.width
        with torch.no_grad():
            self.conditions = (net.conditions() if conditions is None else conditions).detach()
            self.layers = [_Laid(layer, width) for layer in net.layers if isinstance(layer, Layer)]
            # One product for the skip sum of all layers.
            leave = [_laid(layer.leave) for layer in net.layers if isinstance(layer, Layer)]
            self.skip = torch.cat([weight[:, width:] for weight, _ in leave]).contiguous()
            self.skip_bias = torch.stack([bias[width:] for _, bias in leave]).sum(0)

    def start(self, rows: int, columns: int) -> State:
        """The state before the first place of ``rows`` grids of ``columns`` columns."""
        backs, blank = [layer.back for layer in self.layers], self.skip.new_zeros
        above = [blank(rows, back, back + columns + back, self.width) for back in backs]
        return State(columns, above, [blank(rows, back + columns, self.width) for back in backs])

    @torch.no_grad()
    def given(self, x: Tensor, state: State) -> None:
        """Take the first rows of the grids as they are: (R, rows, W, width) inputs, at the beginning."""
        for row in x.unbind(1):
            self._begin_row(state)
            state.line[0][:, self.layers[0].back :] = row
            state.column = state.columns

    @torch.no_grad()
    def step(self, x: Tensor | None, state: State) -> Tensor:
        """Features of the next place, (R, skip); the state moves on.

        Args:
            x: (R, width) input of the place before; None for the first place after `start` or `given`.
            state: from `start`.
        """
        if x is not None:
            state.line[0][:, self.layers[0].back + state.column] = x
            state.column += 1
        if state.column == state.columns:
            self._begin_row(state)
        column, gated, h = state.column, [], self.skip  # of h there is nothing before the first layer
        for number, layer in enumerate(self.layers):
            line = state.line[number]
            if number:
                line[:, layer.back + column] = h
            seen = line[:, column : column + layer.taps].flatten(1)
            filtered, opened = torch.addmm(state.told[number][:, column], seen, layer.along).chunk(2, dim=1)
            u = filtered.tanh_().mul_(opened.sigmoid_())
            weight, bias = layer.stay
            h = torch.addmm(h, u, weight).add_(bias) if number else torch.addmm(bias, u, weight)
            gated.append(u)
        return torch.addmm(self.skip_bias, torch.cat(gated, dim=1), self.skip)

    def _begin_row(self, state: State) -> None:
        """Run the vertical stack for all places of the next row."""
        v = state.line[0][:, self.layers[0].back :]
        count = len(v)
        for number, layer in enumerate(self.layers):
            rows, side = state.above[number], (0, 0, layer.back, layer.back)
            # To the first layer v is the row that was finished; to the others it is of this very row.
            if number or state.begun:
                rows = torch.cat([rows, F.pad(v, side)[:, None]], dim=1)
                state.above[number] = rows[:, -layer.back :]
            seen = rows[:, -layer.taps :].unfold(2, 2 * layer.back + 1, 1)  # (R, taps, W, width, columns)
            weight, bias = layer.down
            a = torch.addmm(bias, seen.permute(0, 2, 1, 4, 3).reshape(-1, len(weight)), weight)
            weight, bias = layer.across
            to_v, to_h = self.conditions[:, number, :, None].unbind(1)  # (R or 1, 1, 2 width)
            state.told[number] = torch.addmm(bias, a, weight).unflatten(0, (count, -1)) + to_h
            v = gate((a.unflatten(0, (count, -1)) + to_v).flatten(0, 1)).unflatten(0, (count, -1))
        state.column, state.begun = 0, True


class _Laid:
    """One layer."""

    def __init__(self, layer: Layer, width: int) -> None:
        self.back, self.taps = layer.back, layer.along.kernel_size[1]
        self.down, self.across = _laid(layer.down), _laid(layer.across)
        self.along = layer.along.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        weight, bias = _laid(layer.leave)
        self.stay = weight[:, :width].contiguous(), bias[:width].clone()


def _laid(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A weight as (rows * columns * inputs, outputs), and its bias."""
    assert conv.bias is not None
    return conv.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous(), conv.bias.detach()
