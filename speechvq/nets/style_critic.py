"""A critic of whole pictures: the discriminator of StyleGAN2.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), section 4 and appendix B, with
residual blocks that halve the picture. Weights are drawn from N(0, 1) and scaled where they are used, so that
all learn at one rate ("Progressive Growing of GANs", Karras et al. 2018, section 4.1); before a picture is
halved it is blurred with the binomial 1, 3, 3, 1; and the last block is told how much the pictures of a
group differ (the same, section 3). Maps are (B, C, h, w).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.nets.critic import Judgement

SLOPE, GAIN = 0.2, math.sqrt(2)


class Scaled(nn.Module):
    """A convolution, or a linear layer for ``kernel`` 0, with its bias and, if asked for, a leaky ReLU."""

    def __init__(
        self, inner: int, outer: int, kernel: int = 0, *, bias: bool = True, bends: bool = True
    ) -> None:
        """``bends``: a leaky ReLU follows, times the square root of 2."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner, *[kernel] * (2 if kernel else 0)))
        self.bias = nn.Parameter(torch.zeros(outer)) if bias else None
        self.scale, self.bends = 1 / math.sqrt(self.weight[0].numel()), bends

    def forward(self, x: Tensor, *, stride: int = 1) -> Tensor:
        """(B, inner, h, w) or (B, inner); convolutions of stride 1 leave the size as it is."""
        weight = self.weight * self.scale
        if weight.dim() == 2:
            x = F.linear(x, weight, self.bias)
        else:
            x = F.conv2d(x, weight, self.bias, stride, padding=weight.shape[-1] // 2 if stride == 1 else 0)
        return F.leaky_relu(x, SLOPE) * GAIN if self.bends else x


class Halving(nn.Module):
    """Two convolutions, of which the second halves the picture, beside a way past them."""

    blur: Tensor

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first, self.second = Scaled(inner, inner, 3), Scaled(inner, outer, 3)
        self.past = Scaled(inner, outer, 1, bias=False, bends=False)
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("blur", line[:, None] * line, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, h, w) to (B, outer, h // 2, w // 2)."""
        main = self.second(self._blurred(self.first(x), 2), stride=2)
        return (main + self.past(self._blurred(x, 1), stride=2)) / GAIN

    def _blurred(self, x: Tensor, around: int) -> Tensor:
        """Blurred after so many zeros were put around it: as large as the convolution needs it."""
        channels = x.shape[1]
        return F.conv2d(x, self.blur.expand(channels, 1, 4, 4), padding=around, groups=channels)


class StyleCritic(nn.Module):
    """One score for every picture, high where it looks real."""

    def __init__(self, side: int = 256, *, channels: int = 3, width: int = 128, group: int = 4) -> None:
        """As published for 256 pixels; ``width`` is the dial, 16 to 32 for a small machine.

        Args:
            side: pixels a side of the pictures, at least 8; they are halved until 4 to 7 are left.
            channels: of the pictures.
            width: channels at full resolution; they double with each halving, up to 4 times as many.
            group: pictures of a batch whose differences are looked at together, or the largest smaller
                number that divides the batch.

        Raises:
            BadSetting: a number is too small.
        """
        super().__init__()
        if side < 8 or min(channels, width, group) < 1:
            raise BadSetting(
                "a style critic needs pictures of at least 8 pixels a side, and channels, width and group "
                f"above 0, not {(side, channels, width, group)}"
            )
        self.side, self.group = side, group
        halvings = int(math.log2(side // 4))
        wide = [width * min(2**level, 4) for level in range(halvings + 1)]
        self.enter = Scaled(channels, width, 1)
        self.blocks = nn.ModuleList(Halving(a, b) for a, b in zip(wide[:-1], wide[1:], strict=True))
        self.last = Scaled(wide[-1] + 1, wide[-1], 3)
        self.gather = Scaled(wide[-1] * (side >> halvings) ** 2, wide[-1])
        self.score = Scaled(wide[-1], 1, bends=False)

    def forward(self, picture: Tensor, mask: Tensor | None = None) -> list[Judgement]:
        """(B, C, side, side) and ``mask`` (B, H, W), True where valid, to one `Judgement`.

        Its scores are (B, 1, 1, 1) and know no mask. Outside the mask the picture is made grey (0).

        Raises:
            BadSetting: pictures of another size.
        """
        if tuple(picture.shape[-2:]) != (self.side, self.side):
            raise BadSetting(
                f"pictures of {picture.shape[-2]} x {picture.shape[-1]} pixels do not fit this style critic, "
                f"which judges whole pictures of {self.side} x {self.side}; give objective.style.side, or "
                "objective.critic=patch"
            )
        x, features = self.enter(picture if mask is None else picture * mask[:, None]), []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        x = self.last(torch.cat([x, differences(x, self.group)], 1))
        scores = self.score(self.gather(x.flatten(1)))
        return [Judgement(scores[:, :, None, None], tuple(features))]


def differences(x: Tensor, group: int) -> Tensor:
    """(B, C, h, w) to (B, 1, h, w): the mean deviation within each group of pictures, the same everywhere.

    Picture i is in one group with those i + k B / size, for the largest size up to ``group`` that divides B.
    """
    batch = x.shape[0]
    size = next(size for size in range(min(group, batch), 0, -1) if batch % size == 0)
    grouped = x.view(size, batch // size, *x.shape[1:])
    # 1e-8 keeps the gradient finite where all are alike.
    deviation = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])
