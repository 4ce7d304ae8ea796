"""Encoder and decoder "vqvae": strided convolutions and residual blocks, as in the first VQ-VAE on pictures.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.1) and the example of
Sonnet, DeepMind's library, which says what the paper leaves open. One code for each 4 x 4 pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.codec import DECODERS, ENCODERS, Batch, Decoder, Encoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.image.likelihood import LIKELIHOODS
from speechvq.losses.likelihood import masked_mean
from speechvq.quantize.batch_norm import BatchNorm
from speechvq.table import preset


@dataclass(frozen=True)
class Shape:
    """Widths and depths, alike in encoder and decoder; the defaults are those of Sonnet's example.

    Attributes:
        hidden: channels at the resolution of the codes.
        outer: channels of the strided convolution next to the picture.
        residual: channels inside a residual block.
        blocks: residual blocks.
        middle: whether a 3 x 3 convolution stands between the strided ones and the blocks.
        residual_bias: whether the convolutions in the residual blocks have biases.
        batch_norm: whether batch normalisation follows every convolution before a ReLU.
    """

    hidden: int = 128
    outer: int = 64
    residual: int = 32
    blocks: int = 2
    middle: bool = True
    residual_bias: bool = True
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if min(self.hidden, self.outer, self.residual) < 1 or self.blocks < 0:
            raise BadSetting(
                "a VQ-VAE's hidden, outer and residual must be at least 1, its blocks at least 0"
            )


SIZES = {
    "tiny": Shape(hidden=32, outer=16, residual=16, blocks=1),
    "small": Shape(hidden=64, outer=32, residual=32),
    "sonnet": Shape(),
    "cifar10": Shape(hidden=256, outer=256, residual=256, middle=False),
    "imagenet128": Shape(),
}
"""The last two are the paper's; what it does not say of ImageNet is as in Sonnet's example for it."""


@ENCODERS.register("vqvae")
class ConvEncoder(Encoder):
    """Strided 4 x 4 convolutions, residual blocks, and a 1 x 1 convolution where ``dim`` is not hidden.

    A picture whose sides are no multiples of ``hop`` is continued at its right and lower edge by the last
    column and row; `grid` counts the codes of what is continued, and the decoder cuts it off again.
    """

    def __init__(
        self,
        dim: int = 64,
        *,
        colours: int = 3,
        hop: int = 4,
        size: str | Shape = "sonnet",
        standardise: bool = False,
    ) -> None:
        """``colours`` are the channels of the picture; ``hop`` pixels a side per code, a power of two.

        ``size`` is a `Shape` or the name of one: tiny, small, sonnet, cifar10 (with ``dim`` 256 the
        paper's), imagenet128. ``standardise`` brings each channel of the vectors to zero mean and unit
        variance by batch statistics; without it few codes are in use at first (the paper has nothing of it).
        """
        super().__init__()
        shape, halvings = preset(size, SIZES, "VQ-VAE"), _halvings(hop)
        self.dim, self.hop, self.colours = dim, hop, colours
        widths = [colours, *[shape.outer] * (halvings - 1), shape.hidden]
        layers: list[nn.Module] = []
        for number, (wide, narrow) in enumerate(pairwise(widths), start=1):
            layers.append(nn.Conv2d(wide, narrow, 4, 2, 1))
            if number < halvings or shape.middle:
                layers += [*_norm(narrow, shape), nn.ReLU()]
        if shape.middle:
            layers += [nn.Conv2d(shape.hidden, shape.hidden, 3, 1, 1), *_norm(shape.hidden, shape), nn.ReLU()]
        layers += [ResidualBlock(shape) for _ in range(shape.blocks)]
        if dim != shape.hidden:
            layers += [nn.ReLU(), nn.Conv2d(shape.hidden, dim, 1)]
        self.layers = nn.Sequential(*layers)
        self.norm = BatchNorm(dim, affine=False) if standardise else nn.Identity()
        self.receptive_field = 3 * hop - 2 + 2 * hop * (shape.blocks + shape.middle)

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, dim, ceil(H / hop), ceil(W / hop))."""
        if signal.dim() != 4 or signal.shape[1] != self.colours:
            raise BadSetting(
                f"the encoder takes pictures (B, {self.colours}, height, width), not {tuple(signal.shape)}"
            )
        if mask is not None:
            signal = torch.where(mask[:, None], signal, 0)
        bottom, right = (-side % self.hop for side in signal.shape[2:])
        signal = F.pad(signal, (0, right, 0, bottom), mode="replicate") if bottom or right else signal
        vectors = self.layers(signal.contiguous(memory_format=torch.channels_last))
        if mask is None or isinstance(self.norm, nn.Identity):
            return self.norm(vectors)
        # The statistics are of vectors that are there, and say nothing of how much is masked beside them.
        vectors, valid = vectors.movedim(1, 3).clone(), self.code_mask(mask)
        vectors[valid] = self.norm(vectors[valid].T[None, :, :, None])[0, :, :, 0].T
        return vectors.movedim(3, 1)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Codes of a picture of ``size`` (H, W); one begun counts whole."""
        return tuple(-(-side // self.hop) for side in size)


@DECODERS.register("vqvae")
class ConvDecoder(Decoder):
    """Residual blocks and transposed 4 x 4 convolutions to the parameters of a likelihood."""

    speakers = ()

    def __init__(
        self,
        dim: int = 64,
        *,
        colours: int = 3,
        hop: int = 4,
        size: str | Shape = "sonnet",
        likelihood: str | Mapping[str, Any] = "gaussian",
    ) -> None:
        """As `ConvEncoder`; ``likelihood`` is a name or ``{"name": ..., setting: value}``.

        Names: gaussian, nmse, logistics, categorical; see `speechvq.image.likelihood`.
        """
        super().__init__()
        shape, halvings = preset(size, SIZES, "VQ-VAE"), _halvings(hop)
        self.dim, self.hop, self.colours = dim, hop, colours
        chosen = {"name": likelihood} if isinstance(likelihood, str) else likelihood
        self.likelihood = LIKELIHOODS.build(chosen, colours=colours)
        layers: list[nn.Module] = []
        if shape.middle or dim != shape.hidden:
            kernel = 3 if shape.middle else 1
            layers.append(nn.Conv2d(dim, shape.hidden, kernel, 1, kernel // 2))
        layers += [*[ResidualBlock(shape) for _ in range(shape.blocks)], nn.ReLU()]
        widths = [shape.hidden, *[shape.outer] * (halvings - 1), self.likelihood.width]
        for number, (wide, narrow) in enumerate(pairwise(widths), start=1):
            layers.append(nn.ConvTranspose2d(wide, narrow, 4, 2, 1))
            if number < halvings:
                layers += [*_norm(narrow, shape), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """(B, D, *grid) to the likelihood's parameters (B, width, H, W), cut to ``size`` (H, W)."""
        output = self.layers(vectors.contiguous(memory_format=torch.channels_last))
        return output if size is None else output[..., : size[0], : size[1]]

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Loss "picture/nll", nats per value (or "picture/nmse"), and the expected picture."""
        output = self(vectors, tuple(batch.signal.shape[2:])).float()
        loss = masked_mean(self.likelihood.loss(output, batch.signal), batch.mask)
        return Reconstruction({self.likelihood.loss_name: loss}, self.likelihood.mean(output))

    def nats(self, vectors: Tensor, picture: Tensor) -> Tensor:
        """-log p(picture | vectors), (B,) nats in float64: the picture's share of the bits per dimension."""
        output = self(vectors, tuple(picture.shape[2:])).double()
        return self.likelihood.nats(output, picture).flatten(1).sum(1)

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, *grid) to a picture (B, C, H, W) in [-1, 1], zero where ``mask`` is False.

        Options:
            size: (H, W) to cut to; hop pixels per code by default.
            draw: draw every value from its distribution; the expected picture by default.
            seed: of the draw; 0 by default.
        """
        if unknown := set(options) - {"size", "draw", "seed"}:
            raise BadSetting(
                f"the decoder 'vqvae' has no option {', '.join(sorted(unknown))}; it knows size, draw, seed"
            )
        output = self(vectors).float()
        if options.get("draw"):
            generator = torch.Generator().manual_seed(options.get("seed", 0))
            picture = self.likelihood.draw(output, generator)
        else:
            picture = self.likelihood.mean(output)
        if mask is not None:
            valid = mask.repeat_interleave(self.hop, 1).repeat_interleave(self.hop, 2)
            picture = torch.where(valid[:, None], picture, 0)
        height, width = options.get("size") or picture.shape[2:]
        if height > picture.shape[2] or width > picture.shape[3]:
            made = " x ".join(map(str, picture.shape[2:]))
            raise BadSetting(f"these codes are {made} pixels; that cannot be cut to {height} x {width}")
        return picture[..., :height, :width]


class ResidualBlock(nn.Module):
    """ReLU, 3 x 3, ReLU, 1 x 1, added to the input."""

    def __init__(self, shape: Shape) -> None:
        """``shape.hidden`` channels, ``shape.residual`` of them inside."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(shape.hidden, shape.residual, 3, 1, 1, bias=shape.residual_bias),
            *_norm(shape.residual, shape),
            nn.ReLU(),
            nn.Conv2d(shape.residual, shape.hidden, 1, bias=shape.residual_bias),
            *_norm(shape.hidden, shape),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, hidden, H, W) to the same."""
        return x + self.layers(x)


def _norm(channels: int, shape: Shape) -> list[nn.Module]:
    return [BatchNorm(channels)] if shape.batch_norm else []


def _halvings(hop: int) -> int:
    """How often the resolution is halved."""
    if hop < 2 or hop & (hop - 1):
        raise BadSetting(
            f"a code cannot stand for {hop} pixels a side here; give 2, 4, 8 or another power of two"
        )
    return hop.bit_length() - 1
