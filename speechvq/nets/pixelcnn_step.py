"""The gated PixelCNN one place at a time, with weights laid out for it and without gradients.

The same sums as in `speechvq.nets.pixelcnn`. The vertical stack sees finished rows only, so it is run
once a row, for all places of the row together, and needs of each layer the last r rows of its input. The
horizontal stack is run place by place and needs of each layer the inputs of its row so far. So a place
costs what its layers cost, however large the grid.

In a small network calls cost more than sums, so there are few: four a layer and place, each of which
writes where the next one reads. With sigmoid(y) = (1 + tanh(y / 2)) / 2 the gate of h is

    u = tanh(x) sigmoid(y) = (f + f o) / 2,    f and o the halves of tanh(x, y / 2),

and both halvings stand in the weights around it. So do the biases of R and S, as u ends with a one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.nets.pixelcnn import Layer, PixelCNN, gate


class State:
    """What is remembered of R grids of W columns in the midst of being written.

    Attributes:
        lines: what is remembered of each layer.
        nothing: (R, width), h before the first layer.
        gates: (R, 2 width), f and o of a layer; and either alone.
        gated: (R, layers * (width + 1)), f + f o and a one, layer after layer.
        columns: W.
        column: of the next place; W at the beginning and at the end of a row.
        begun: whether there is a row yet.
    """

    def __init__(self, layers: list["_Laid"], columns: int, nothing: Tensor) -> None:
        """The beginning of grids."""
        rows, width = nothing.shape
        gates, gated = nothing.new_empty(rows, 2 * width), nothing.new_ones(rows, len(layers), width + 1)
        self.lines = [_Line(*one, columns) for one in zip(layers, gated.unbind(1), strict=True)]
        self.nothing, self.gates, self.gated = nothing, (gates, *gates.chunk(2, dim=1)), gated.flatten(1)
        self.columns, self.column, self.begun = columns, columns, False


class _Line:
    """What is remembered of one layer.

    Attributes:
        above: (R, r, r + W + r, width), the rows of its input that v still sees, the oldest first, between
            columns of nothing.
        row: (R, W, width), its input in this row.
        places: the same for each column.
        seen: what h sees of it for each column, (R, taps * width), after r places of nothing.
        told: what the gate of h adds for each column, (R, 2 width).
        gated: (R, width), where f + f o goes; and with the one after it.
    """

    def __init__(self, layer: "_Laid", gated: Tensor, columns: int) -> None:
        rows, back, width = len(gated), layer.back, gated.shape[1] - 1
        self.above = gated.new_zeros(rows, back, back + columns + back, width)
        line = gated.new_zeros(rows, back + columns, width)
        self.row = line[:, back:]
        self.places = self.row.unbind(1)
        self.seen = line.flatten(1).unfold(1, layer.taps * width, width).unbind(1)
        self.told: tuple[Tensor, ...] = ()
        self.gated = gated[:, :width], gated


class Steps:
    """A snapshot of a network: make it anew after the network was trained further."""

    def __init__(self, net: PixelCNN, conditions: Tensor | None = None) -> None:
        """Lay out the weights of ``net``, on its device; ``conditions`` are `PixelCNN.conditions`."""
        width = net.stacks.width
        with torch.no_grad():
            told = (net.conditions() if conditions is None else conditions).detach()[:, :, :, None].unbind(1)
            layers = [layer for layer in net.layers if isinstance(layer, Layer)]
            self.layers = [_Laid(layer, *adds.unbind(1)) for layer, adds in zip(layers, told, strict=True)]
            # R is there for the next layer; one product makes the skip sum of all.
            leave = [
                torch.cat([weight / 2, bias[None]]) for weight, bias in (_laid(one.leave) for one in layers)
            ]
            self.stay = [None, *(part[:, :width].contiguous() for part in leave[:-1])]
            self.skip = torch.cat([part[:, width:] for part in leave])

    def start(self, rows: int, columns: int) -> State:
        """The state before the first place of ``rows`` grids of ``columns`` columns."""
        return State(self.layers, columns, self.skip.new_zeros(rows, self.layers[0].width))

    @torch.no_grad()
    def given(self, x: Tensor, state: State) -> None:
        """Take the first rows of the grids as they are: (R, rows, W, width) inputs, at the beginning."""
        for row in x.unbind(1):
            self._begin_row(state)
            state.lines[0].row.copy_(row)
            state.column = state.columns

    @torch.no_grad()
    def step(self, x: Tensor | None, state: State) -> Tensor:
        """Features of the next place, (R, skip); the state moves on.

        Args:
            x: (R, width) input of the place before; None for the first place after `start` or `given`.
            state: from `start`.
        """
        if x is not None:
            state.lines[0].places[state.column].copy_(x)
            state.column += 1
        if state.column == state.columns:
            self._begin_row(state)
        column, h, (gates, f, o) = state.column, state.nothing, state.gates
        u = h  # there is neither before the first layer
        for layer, line, stay in zip(self.layers, state.lines, self.stay, strict=True):
            if stay is not None:
                h = torch.addmm(h, u, stay, out=line.places[column])
            torch.addmm(line.told[column], line.seen[column], layer.along, out=gates).tanh_()
            let, u = line.gated
            torch.addcmul(f, f, o, out=let)
        return state.gated @ self.skip

    def _begin_row(self, state: State) -> None:
        """Run the vertical stack for all places of the next row."""
        v = state.lines[0].row
        count = len(v)
        for number, (layer, line) in enumerate(zip(self.layers, state.lines, strict=True)):
            rows, side = line.above, (0, 0, layer.back, layer.back)
            # To the first layer v is the row that was finished; to the others it is of this very row.
            if number or state.begun:
                rows = torch.cat([rows, F.pad(v, side)[:, None]], dim=1)
                line.above = rows[:, -layer.back :]
            seen = rows[:, -layer.taps :].unfold(2, 2 * layer.back + 1, 1)  # (R, taps, W, width, columns)
            weight, bias = layer.down
            a = torch.addmm(bias, seen.permute(0, 2, 1, 4, 3).reshape(-1, len(weight)), weight)
            weight, bias = layer.across
            line.told = (torch.addmm(bias, a, weight).unflatten(0, (count, -1)) + layer.to_h).unbind(1)
            v = gate((a.unflatten(0, (count, -1)) + layer.to_v).flatten(0, 1)).unflatten(0, (count, -1))
        state.column, state.begun = 0, True


class _Laid:
    """One layer, and what its gates add for the condition, each (R or 1, 1, 2 width)."""

    def __init__(self, layer: Layer, to_v: Tensor, to_h: Tensor) -> None:
        self.width, self.back, self.taps = layer.along.in_channels, layer.back, layer.along.kernel_size[1]
        half = to_h.new_tensor([1.0, 0.5]).repeat_interleave(self.width)
        weight, bias = _laid(layer.across)
        self.to_v, self.to_h = to_v, half * to_h
        self.down, self.across = _laid(layer.down), (half * weight, half * bias)
        self.along = half * layer.along.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)


def _laid(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A weight as (rows * columns * inputs, outputs), and its bias."""
    assert conv.bias is not None
    return conv.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous(), conv.bias.detach()
