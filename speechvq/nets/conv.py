"""Convolutional blocks over (B, C, T) that every encoder and decoder of sound is made of."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


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
        self.spread = nn.Conv1d(channels, channels, kernel, padding=self.reach, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        h = self.norm(x)
        if self.film is not None:
            scale, shift = self.film(condition)[..., None].chunk(2, 1)
            h = h * (1 + scale) + shift
        return x + self.mix(F.gelu(self.spread(h)))
