"""The gated PixelCNN ("Conditional Image Generation with PixelCNN Decoders", van den Oord et al. 2016).

Every place of a grid sees the places before it in raster order and none after. Two stacks of layers do
that without a blind spot (section 2.2): the vertical one, v, sees whole rows above the place, to both
sides, and the horizontal one, h, the place's own row to its left; v is told to h in every layer, h never
to v. With r = kernel // 2, a condition g, and gate(x, y) = tanh(x) sigmoid(y) of the halves of a tensor:

    a = W_v * v, from r rows above to the row itself, from r columns to the left to r to the right
    b = W_h * h + P a, from r places to the left to the place itself
    v = gate(a + V_v g);   u = gate(b + V_h g);   h += R u;   skip += S u

In the first layer the row itself (in v) and the place itself (in h) are left out, and h has no residual:
mask A of "Pixel Recurrent Neural Networks" (2016); the other layers have mask B. Taps that a mask would
always cut off do not exist here. Outside of the grid is zero in every layer; so is a masked place, and
what is said of the others is what would be said if the grid ended there.

`speechvq.nets.pixelcnn_step` runs the same weights one place at a time.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Stacks:
    """Widths and depths of a PixelCNN.

    Attributes:
        layers: gated layers.
        first: side of the first layer's square of taps, odd, at least 3.
        kernel: side of the other layers', odd, at least 3.
        width: channels of v, h and u.
        skip: channels of the skip sum.
        post: channels between the two last 1x1 convolutions.
        condition: channels of the condition, where there is one.
        dropout: probability in [0, 1) that a channel of u is dropped in training.
    """

    layers: int = 7
    first: int = 7
    kernel: int = 5
    width: int = 96
    skip: int = 96
    post: int = 192
    condition: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every field, with a sentence for the first that is wrong."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "dropout" and value < 1:
                raise BadSetting(f"{field.name} of the PixelCNN is {value}; give at least 1")
        for side in (self.first, self.kernel):
            if side < 3 or side % 2 == 0:
                raise BadSetting(f"a kernel of the PixelCNN is {side} wide; give an odd number from 3 on")
        if not 0 <= self.dropout < 1:
            raise BadSetting(f"dropout of the PixelCNN is {self.dropout}; it must be in [0, 1)")

    @property
    def kernels(self) -> tuple[int, ...]:
        """The kernel of each layer."""
        return (self.first, *[self.kernel] * (self.layers - 1))

    @property
    def reach(self) -> int:
        """How far a place sees: so many rows up, and so many columns to the left and (above) to the right.

        On a grid of at most ``reach + 1`` rows and columns it sees everything that is before it.
        """
        return sum(kernel // 2 for kernel in self.kernels)


class PixelCNN(nn.Module):
    """Both stacks over a whole grid; the output of a place depends on the inputs before it only."""

    def __init__(self, stacks: Stacks, *, conditioned: bool = False) -> None:
        """Build the layers; when ``conditioned``, with V_v and V_h for ``stacks.condition`` channels."""
        super().__init__()
        self.stacks = stacks
        self.layers = nn.ModuleList(Layer(stacks, number) for number in range(stacks.layers))
        self.tell = None
        if conditioned:
            self.tell = nn.Linear(stacks.condition, stacks.layers * 4 * stacks.width, bias=False)
        self.dropout = nn.Dropout(stacks.dropout)

    def conditions(self, given: Tensor | None = None) -> Tensor:
        """What the gates of all layers add, those of v before those of h.

        Args:
            given: (B, condition), the condition g; None for none.

        Returns:
            (B or 1, layers, 2, 2 width).
        """
        if self.tell is None or given is None:
            blank = next(self.parameters()).new_zeros(1)
            return blank.expand(1, self.stacks.layers, 2, 2 * self.stacks.width)
        return self.tell(given).unflatten(1, (self.stacks.layers, 2, -1))

    def forward(self, x: Tensor, conditions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Features of every place from the inputs of those before it.

        Args:
            x: (B, width, H, W) inputs.
            conditions: from `conditions`.
            mask: (B, 1, H, W), True where there is a place; None for everywhere.

        Returns:
            (B, skip, H, W).
        """
        conditions = self.conditions() if conditions is None else conditions
        x = x if mask is None else x.masked_fill(~mask, 0)
        v, h, skip = x, x, torch.zeros((), device=x.device)
        for layer, adds in zip(self.layers, conditions[..., None, None].unbind(1), strict=True):
            assert isinstance(layer, Layer)
            v, u = layer(v, h, adds)
            update, kept = layer.leave(self.dropout(u)).split([x.shape[1], self.stacks.skip], dim=1)
            h, skip = update if layer.first else h + update, skip + kept
            if mask is not None:
                v, h = v.masked_fill(~mask, 0), h.masked_fill(~mask, 0)
        return skip


class Layer(nn.Module):
    """One layer of both stacks."""

    def __init__(self, stacks: Stacks, number: int) -> None:
        """The layer with this number, from 0."""
        super().__init__()
        width, self.first, self.back = stacks.width, number == 0, stacks.kernels[number] // 2
        taps = self.back + (not self.first)
        self.down = nn.Conv2d(width, 2 * width, (taps, 2 * self.back + 1))
        self.along = nn.Conv2d(width, 2 * width, (1, taps), bias=False)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        # R and S in one product. The last layer's R reaches no output, see `speechvq.nets.wavenet`.
        self.leave = nn.Conv2d(width, width + stacks.skip, 1)

    def forward(self, v: Tensor, h: Tensor, adds: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, width, H, W) and (B or 1, 2, 2 width, 1, 1) to v and u of the formula above."""
        last = -1 if self.first else None  # the row, and the place, itself is left out
        a = self.down(F.pad(v, (self.back, self.back, self.back, 0))[:, :, :last])
        b = self.along(F.pad(h, (self.back, 0))[..., :last]) + self.across(a)
        return gate(a + adds[:, 0]), gate(b + adds[:, 1])


def gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels (B, 2 C, ...) times the sigmoid of the second."""
    filtered, opened = x.chunk(2, dim=1)
    return filtered.tanh() * opened.sigmoid()
