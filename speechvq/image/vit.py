"""Pictures to vectors and back with vision transformers: the encoder and decoder of ViT-VQGAN.

Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (2022), section 3. Every patch of the picture
becomes one vector, in sight of all others. Positions are those of the largest picture, ``side`` pixels a
side: a larger one is an error, a smaller one lies in the upper left corner. Factorised codes
(section 3.2) are `speechvq.quantize.space`'s; or give ``dim``, and the layers into the few channels and out
of them are here, the encoder's last and the decoder's first, which lets both have widths of their own.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechvq.codec import DECODERS, ENCODERS, Batch, Decoder, Encoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.image.padding import compare, encode_each, grid_of, show
from speechvq.image.picture_loss import PictureLoss
from speechvq.image.vit_blocks import Patches, begin
from speechvq.image.vit_sizes import Reading, Size, shape_of
from speechvq.losses.logit_laplace import logit_laplace_nll, squeeze, stretch


@ENCODERS.register("vit")
class ViTEncoder(Encoder):
    """Pictures (B, C, H, W) in [-1, 1] to vectors (B, dim, H // patch, W // patch)."""

    def __init__(
        self,
        dim: int | None = None,
        *,
        size: str | Size = "base",
        reading: str | Reading = "paper",
        patch: int = 8,
        side: int = 256,
        colours: int = 3,
    ) -> None:
        """Build the encoder.

        Args:
            dim: channels of the vectors, by a last linear layer; None: the width of the size, without one.
            size: the name of one of `SIZES`, or the widths themselves.
            reading: the name of one of `READINGS`, or what it says.
            patch: pixels a side of what becomes a vector.
            side: pixels a side of the largest picture.
            colours: channels of the picture.
        """
        super().__init__()
        shape = self.shape = shape_of(size, reading, patch=patch, side=side)
        width = shape.size.width
        self.dim, self.colours, self.hop, self.side = dim or width, colours, patch, side
        # By attention every vector sees the whole picture.
        self.receptive_field = side
        self.enter = nn.Conv2d(colours, width, patch, patch)
        self.patches = Patches(shape)
        self.project = None if dim is None else nn.Linear(width, dim)
        begin(self)

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Encoder.forward`; pictures that a mask (B, H, W) cuts to size are encoded one by one."""
        return encode_each(self._encode, signal, mask, hop=self.hop, dim=self.dim)

    def _encode(self, x: Tensor) -> Tensor:
        if self.shape.reading.range == "unit":
            x = (x + 1) / 2
        x_BHWD = self.patches(self.enter(x).movedim(1, -1))
        return (x_BHWD if self.project is None else self.project(x_BHWD)).movedim(-1, 1)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors down and across of a picture of ``size`` (H, W); one smaller than a patch is an error."""
        return grid_of(size, self.hop)


@dataclass(frozen=True)
class Laplace:
    """The logit-Laplace likelihood in the decoder's loss (`speechvq.losses.logit_laplace`)."""

    weight: float = 0.1
    """Of its mean over pixels and colours, in nats. Above 0 the decoder says logits, and the picture is
    what they stand for; at 0 it says the picture itself."""
    scale: float | None = None
    """Of every logit; None: the decoder says the scale of each."""
    least: float = 0.03
    """What is added to the scales that the decoder says: about one of 256 levels. Without it the likelihood
    of pixels that are always the same would have no bound."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise BadSetting(f"the weight of the likelihood is {self.weight}; it must be at least 0")
        if not (self.least > 0 and (self.scale is None or self.scale > 0)):
            raise BadSetting("scale and least of the likelihood must be above 0")

    @property
    def told(self) -> bool:
        """Whether the decoder says the scales."""
        return self.weight > 0 and self.scale is None


LOSS = PictureLoss(error="squared", pixels=0.25, features=0.1)
"""As in the paper, whose squared error of pixels in [0, 1] weighs 1."""


@DECODERS.register("vit")
class ViTDecoder(Decoder):
    """Vectors (B, dim, h, w) to pictures (B, C, h * hop, w * hop)."""

    def __init__(
        self,
        dim: int | None = None,
        *,
        size: str | Size = "base",
        reading: str | Reading = "paper",
        hop: int = 8,
        side: int = 256,
        colours: int = 3,
        loss: PictureLoss = LOSS,
        laplace: Laplace = Laplace(),  # noqa: B008 (frozen)
    ) -> None:
        """``size``, ``reading``, ``side``, ``colours`` as of the encoder; ``hop`` is its patch.

        ``dim`` are the channels of the vectors; a first linear layer leads from them to another width.
        """
        super().__init__()
        if loss.kind != "picture":
            raise BadSetting(f"the vit decoder makes pictures, not a {loss.kind!r}")
        shape = self.shape = shape_of(size, reading, patch=hop, side=side)
        width = shape.size.width
        self.dim, self.hop, self.side, self.speakers = dim or width, hop, side, ()
        self.colours, self.loss, self.laplace = colours, loss, laplace
        self.project = None if self.dim == width else nn.Linear(self.dim, width)
        self.patches = Patches(shape)
        self.leave = nn.ConvTranspose2d(width, colours * (2 if laplace.told else 1), hop, hop)
        begin(self)

    @property
    def last_layer(self) -> Tensor:
        """The weight in which `speechvq.losses.adaptive` compares gradients."""
        return self.leave.weight

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, C or 2 C, h * hop, w * hop), of the last layer: nothing bounds it."""
        x_BHWD = vectors.movedim(1, -1)
        x_BHWD = self.patches(x_BHWD if self.project is None else self.project(x_BHWD))
        return self.leave(x_BHWD.movedim(-1, 1))

    def picture(self, said: Tensor) -> Tensor:
        """What `forward` said as a picture about [-1, 1]."""
        said = said[:, : self.colours]
        if self.laplace.weight > 0:
            return 2 * stretch(torch.sigmoid(said)) - 1
        return 2 * said - 1 if self.shape.reading.range == "unit" else said

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """The losses of `PictureLoss` and "picture/laplace"; ``signal`` is not bounded.

        Rows and columns of the batch that have no code of their own, fewer than a patch, cost nothing.
        """
        found = compare(self, vectors, batch, hop=self.hop, channels=self.leave.out_channels)
        said, weight, made = found.said, found.weight, self.picture(found.said)
        losses = self.loss(made, found.target, weight)
        if self.laplace.weight > 0:
            nats = logit_laplace_nll(
                squeeze((found.target.float() + 1) / 2), said[:, : self.colours], self._scales(said)
            )
            mean = (nats * weight).sum() / (weight.sum() * self.colours).clamp(min=1)
            losses["picture/laplace"] = self.laplace.weight * mean
        return Reconstruction(losses, made)

    def _scales(self, said: Tensor) -> Tensor:
        """Logarithms of the scales, which the decoder says or which are all the same."""
        if self.laplace.scale is not None:
            return said.new_tensor(self.laplace.scale).log()
        # log(exp(said) + least): a hard bound would have no gradient beyond it.
        return torch.logaddexp(said[:, self.colours :], said.new_tensor(self.laplace.least).log())

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors to pictures in [-1, 1].

        ``mask`` (B, h, w) is True where vectors are valid, and the picture 0 where they are not.

        Raises:
            BadSetting: there is an option; it knows none.
        """
        if options:
            raise BadSetting(f"the vit decoder has no option {', '.join(sorted(options))}")

        def bounded(said: Tensor) -> Tensor:
            return self.picture(said).clamp(-1, 1)

        return show(self, bounded, vectors, mask, hop=self.hop, channels=self.leave.out_channels)
