"""The residual blocks of pictures that VQGAN took from DDPM: convolutions, attention, halving, doubling.

Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), appendix B, without the time
embedding; as in Esser, Rombach and Ommer, "Taming Transformers" (2021). All maps are (B, C, H, W).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting

GROUPS = 32


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups.

    Raises:
        BadSetting: 32 does not divide ``channels``.
    """
    if channels < 1 or channels % GROUPS:
        raise BadSetting(
            f"{channels} channels cannot be normalised in {GROUPS} groups; give a multiple of it"
        )
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Twice norm, swish and a 3x3 convolution, added to the input."""

    def __init__(self, inner: int, outer: int, *, dropout: float = 0.0) -> None:
        """From ``inner`` to ``outer`` channels; where they differ the input passes a 1x1 convolution."""
        super().__init__()
        self.norm1 = norm(inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = norm(outer)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.shortcut = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, H, W) to (B, outer, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class AttnBlock(nn.Module):
    """One head of attention over all places, added to the input."""

    def __init__(self, channels: int) -> None:
        """Queries, keys and values have as many ``channels`` as the map."""
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; softmax(q k' / sqrt C) v at every place."""
        h_BCHW = self.norm(x_BCHW)
        q_B1NC, k_B1NC, v_B1NC = (
            part(h_BCHW).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v)
        )
        seen_B1NC = F.scaled_dot_product_attention(q_B1NC, k_B1NC, v_B1NC)
        return x_BCHW + self.out(seen_B1NC[:, 0].transpose(1, 2).reshape(x_BCHW.shape))


class Downsample(nn.Module):
    """Half the height and width, rounded down: a 3x3 convolution of stride 2.

    One row and one column of zeros are added at the bottom and at the right only.
    """

    def __init__(self, channels: int) -> None:
        """``channels`` in and out."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H // 2, W // 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the height and width: every place four times, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        """``channels`` in and out."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
