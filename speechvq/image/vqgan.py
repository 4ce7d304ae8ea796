"""Pictures to vectors and back with the networks of VQGAN: residual blocks, attention where it is small.

Esser, Rombach and Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021), section 3.1
and, for what the paper leaves open, its published code. Every level but the last halves the picture; both
1x1 convolutions around the quantizer are here, the encoder's last and the decoder's first layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.codec import DECODERS, ENCODERS, Batch, Decoder, Encoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.image import folding
from speechvq.image.padding import compare, encode_each, grid_of, show
from speechvq.image.picture_loss import PictureLoss
from speechvq.image.widths import Widths, widths_of
from speechvq.nets.resnet import AttnBlock, Downsample, ResBlock, Upsample, norm


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention or not, and a change of resolution."""

    def __init__(
        self, channels: Sequence[int], *, attends: bool, resample: type[nn.Module] | None, dropout: float
    ) -> None:
        """Blocks lead from each of ``channels`` to the next; ``resample`` takes the last of them."""
        super().__init__()
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.blocks = nn.ModuleList(ResBlock(a, b, dropout=dropout) for a, b in pairs)
        self.attention = nn.ModuleList(AttnBlock(b) for _, b in pairs) if attends else None
        self.resample = None if resample is None else resample(channels[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        for place, block in enumerate(self.blocks):
            x = block(x)
            if self.attention is not None:
                x = self.attention[place](x)
        return x if self.resample is None else self.resample(x)


@ENCODERS.register("vqgan")
class VQGANEncoder(Encoder):
    """Pictures (B, C, H, W) to vectors (B, dim, H // hop, W // hop); level l works at H / 2 ** l."""

    def __init__(
        self, dim: int | None = None, *, size: str | Widths = "f16", colours: int | None = None, fold: int = 1
    ) -> None:
        """Build the encoder.

        Args:
            dim: channels of the vectors; the latent ones of the size unless given.
            size: the name of one of `SIZES`, or the widths themselves.
            colours: channels of the picture, in place of the size's.
            fold: latents a side that become one vector, `fold` ** 2 times as wide as a latent.

        Raises:
            BadSetting: there is no such size, or ``dim`` cannot hold so many latents.
        """
        super().__init__()
        widths = self.widths = widths_of(size, colours)
        self.colours, self.fold = widths.colours, fold
        self.dim = widths.latent * fold**2 if dim is None else dim
        self.hop = widths.hop * fold
        # By attention every vector sees the whole picture.
        self.receptive_field = widths.resolution
        channels, dropout = widths.per_level, widths.dropout
        self.enter = nn.Conv2d(widths.colours, widths.channels, 3, padding=1)
        self.levels = nn.ModuleList()
        before = widths.channels
        for level, wide in enumerate(channels):
            resample = Downsample if level < len(channels) - 1 else None
            row, attends = [before, *[wide] * widths.blocks], widths.attends(level)
            self.levels.append(Level(row, attends=attends, resample=resample, dropout=dropout))
            before = wide
        self.middle = _middle(before, dropout)
        self.norm = norm(before)
        self.leave = nn.Conv2d(before, widths.latent, 3, padding=1)
        self.project = nn.Conv2d(widths.latent, folding.per_latent(self.dim, fold), 1)

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Encoder.forward`; pictures that a mask (B, H, W) cuts to size are encoded one by one."""
        return encode_each(self._encode, signal, mask, hop=self.hop, dim=self.dim)

    def _encode(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for level in self.levels:
            x = level(x)
        return folding.fold(self.project(self.leave(F.silu(self.norm(self.middle(x))))), self.fold)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors down and across of a picture of ``size`` (H, W); one smaller than a hop is an error."""
        return grid_of(size, self.hop)


@DECODERS.register("vqgan")
class VQGANDecoder(Decoder):
    """Vectors (B, dim, h, w) to pictures (B, C, h * hop, w * hop), one-hot for segmentations."""

    def __init__(
        self,
        dim: int | None = None,
        *,
        size: str | Widths = "f16",
        colours: int | None = None,
        fold: int = 1,
        loss: PictureLoss = PictureLoss(),  # noqa: B008 (frozen)
    ) -> None:
        """``dim``, ``size``, ``colours`` and ``fold`` as of the encoder."""
        super().__init__()
        widths = self.widths = widths_of(size, colours)
        self.dim = widths.latent * fold**2 if dim is None else dim
        self.hop, self.fold, self.speakers, self.loss = widths.hop * fold, fold, (), loss
        channels, dropout = widths.per_level, widths.dropout
        self.project = nn.Conv2d(folding.per_latent(self.dim, fold), widths.latent, 1)
        self.enter = nn.Conv2d(widths.latent, channels[-1], 3, padding=1)
        self.middle = _middle(channels[-1], dropout)
        # Listed by level as in the encoder, passed from the last to the first; one block more.
        levels: list[nn.Module] = []
        for level, wide in enumerate(channels):
            before = channels[min(level + 1, len(channels) - 1)]
            row, attends = [before, *[wide] * (widths.blocks + 1)], widths.attends(level)
            resample = Upsample if level else None
            levels.append(Level(row, attends=attends, resample=resample, dropout=dropout))
        self.levels = nn.ModuleList(levels)
        self.norm = norm(channels[0])
        self.leave = nn.Conv2d(channels[0], widths.colours, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight in which `speechvq.losses.adaptive` compares gradients."""
        return self.leave.weight

    def forward(self, vectors: Tensor) -> Tensor:
        """The last layer's output, which nothing bounds: (B, dim, h, w) to (B, C, h * hop, w * hop)."""
        x = self.middle(self.enter(self.project(folding.unfold(vectors, self.fold))))
        for level in reversed(self.levels):
            x = level(x)
        return self.leave(F.silu(self.norm(x)))

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """The losses of `PictureLoss`; ``signal`` is not bounded.

        Rows and columns of the batch that have no code of their own, fewer than a hop, cost nothing.
        """
        found = compare(self, vectors, batch, hop=self.hop, channels=self.widths.colours)
        return Reconstruction(self.loss(found.said, found.target, found.weight), found.said)

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors to pictures in [-1, 1], or to the one-hot of each pixel's likeliest class.

        ``mask`` (B, h, w) is True where vectors are valid, and the picture 0 where they are not.

        Raises:
            BadSetting: there is an option; it knows none.
        """
        if options:
            raise BadSetting(f"the vqgan decoder has no option {', '.join(sorted(options))}")
        return show(self, self._picture, vectors, mask, hop=self.hop, channels=self.widths.colours)

    def _picture(self, said: Tensor) -> Tensor:
        if self.loss.kind == "picture":
            return said.clamp(-1, 1)
        return torch.zeros_like(said).scatter_(1, said.argmax(1, keepdim=True), 1)


def _middle(channels: int, dropout: float) -> nn.Sequential:
    first, last = (ResBlock(channels, channels, dropout=dropout) for _ in range(2))
    return nn.Sequential(first, AttnBlock(channels), last)
