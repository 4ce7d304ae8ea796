"""Convolutional blocks over (B, C, T) that every encoder and decoder of sound is made of.

Tensors keep the shape (B, C, T) but lie in memory with channels last, where normalisation over channels
needs no copy and CPU convolutions are about twice as fast (`channels_last` puts them so).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def channels_last(x: Tensor) -> Tensor:
    """(B, C, T) with the same values, channels adjacent in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


class Conv1d(nn.Conv1d):
    """`torch.nn.Conv1d` whose result keeps channels last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T')."""
        stride, padding, dilation = self.stride[0], self.padding[0], self.dilation[0]
        plane, weight = x.unsqueeze(2), self.weight.unsqueeze(2)
        y = F.conv2d(plane, weight, self.bias, (1, stride), (0, int(padding)), (1, dilation), self.groups)
        return y.squeeze(2)


class ChannelNorm(nn.Module):
    """Layer normalisation over channels at each place; sees no neighbour, so pieces have no seam."""

    def __init__(self, channels: int) -> None:
        """A scale and a shift for each of ``channels``."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        return F.layer_norm(x.transpose(1, 2), self.weight.shape, self.weight, self.bias).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Norm, dilated convolution, GELU, 1×1 convolution, added to the input; optionally conditioned.

    A condition (B, cond) scales and shifts the normalised channels (FiLM, Perez et al. 2018).
    """

    def __init__(self, channels: int, *, kernel: int = 3, dilation: int = 1, condition: int = 0) -> None:
        """``kernel`` odd; ``condition`` channels, 0 for none."""
        super().__init__()
        self.reach = (kernel - 1) // 2 * dilation
        self.norm = ChannelNorm(channels)
        self.film = nn.Linear(condition, 2 * channels) if condition else None
        self.spread = Conv1d(channels, channels, kernel, padding=self.reach, dilation=dilation)
        self.mix = Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        h = self.norm(x)
        if self.film is not None:
            scale, shift = self.film(condition)[..., None].chunk(2, 1)
            h = torch.addcmul(shift, h, 1 + scale)
        return x + self.mix(F.gelu(self.spread(h)))
