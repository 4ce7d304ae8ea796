"""A second VQ-VAE over the codes of a first: a whole picture in three codes, 27 bits.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.2, DM-Lab): the first
codec's 21 x 21 codes go through an encoder to three latents, each with a codebook of 512 codes of its own,
and a PixelCNN says every code of the first from those before it and the three. A decoder that strong could
do without latents; that these are used shows that they do not collapse. Sizes are ours, the paper has none.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from speechvq.codec import (
    DECODERS,
    ENCODERS,
    Batch,
    Codec,
    CodecOutput,
    Codes,
    Decoder,
    Encoder,
    Reconstruction,
    evaluating,
)
from speechvq.errors import BadCodes, BadSetting
from speechvq.losses.likelihood import categorical_nll
from speechvq.nets.pixelcnn import PixelCNN, Stacks
from speechvq.nets.pixelcnn_step import Steps
from speechvq.nets.sampling import Sampling, Uniforms, sample

LEAST = 5
"""Places a side down to which the encoder halves the grid."""


@ENCODERS.register("codes")
class CodesEncoder(Encoder):
    """The codes (B, 1, H, W) of one picture to one vector (B, dim, 1, 1) that sees all of them.

    With the quantizer "grouped" of three groups its channels are the three latents.
    """

    def __init__(
        self,
        dim: int = 192,
        *,
        codebook_size: int = 512,
        sides: tuple[int, int] = (21, 21),
        channels: int = 128,
    ) -> None:
        """``codebook_size`` codes on a grid of ``sides`` (H, W); ``channels`` throughout."""
        super().__init__()
        self.codebook_size, self.sides = codebook_size, _checked(sides)
        self.dim, self.hop, self.receptive_field = dim, max(sides), max(sides)
        height, width = sides
        layers: list[nn.Module] = [nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()]
        while min(height, width) > LEAST:
            layers += [nn.Conv2d(channels, channels, 4, 2, 1), nn.ReLU()]
            height, width = height // 2, width // 2
        self.enter = nn.Embedding(codebook_size, channels)
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(channels * height * width, dim)

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """Codes (B, 1, H, W) to (B, dim, 1, 1); there is no mask, for every picture has all of its codes."""
        codes = _fitting(signal, self.sides, self.codebook_size)
        x = self.layers(self.enter(codes).movedim(3, 1))
        return self.leave(x.flatten(1))[..., None, None]

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """One place."""
        return (1, 1)


@DECODERS.register("codes")
class CodesDecoder(Decoder):
    """A vector (B, dim, 1, 1) to the distribution of the codes of one picture, by a gated PixelCNN."""

    speakers = ()

    def __init__(
        self,
        dim: int = 192,
        *,
        hop: int = 21,
        codebook_size: int = 512,
        sides: tuple[int, int] = (21, 21),
        stacks: Stacks = Stacks(),  # noqa: B008 (frozen)
    ) -> None:
        """As `CodesEncoder`; ``stacks`` are the widths and depths of the PixelCNN."""
        super().__init__()
        self.dim, self.hop, self.codebook_size, self.sides = dim, hop, codebook_size, _checked(sides)
        self.enter = nn.Embedding(codebook_size, stacks.width)
        self.tell = nn.Sequential(
            nn.Linear(dim, stacks.post), nn.ReLU(), nn.Linear(stacks.post, stacks.condition)
        )
        self.net = PixelCNN(stacks, conditioned=True)
        self.leave = nn.Sequential(
            nn.ReLU(), nn.Linear(stacks.skip, stacks.post), nn.ReLU(), nn.Linear(stacks.post, codebook_size)
        )

    def nats_of(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code (B, 1, H, W) of the first codec, given the vectors and the codes before it."""
        codes = _fitting(codes, self.sides, self.codebook_size)
        features = self.net(self.enter(codes).movedim(3, 1), self._conditions(vectors))
        return categorical_nll(self.leave(features.movedim(1, 3)).movedim(3, 1), codes)[:, None]

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Loss "codes/nll", nats per code of the first codec."""
        return Reconstruction({"codes/nll": self.nats_of(vectors, batch.signal).mean()})

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, dim, 1, 1) to codes (B, 1, H, W) of the first codec, drawn one after the other.

        Options:
            sampling: a `Sampling`; temperature 1 by default.
        """
        if unknown := set(options) - {"sampling"}:
            raise BadSetting(
                f"the decoder 'codes' has no option {', '.join(sorted(unknown))}; it knows sampling"
            )
        sampling = options.get("sampling") or Sampling()
        steps = Steps(self.net, self._conditions(vectors))
        state, uniforms = steps.start(len(vectors), self.sides[1]), Uniforms(sampling.seed, len(vectors))
        drawn: list[Tensor] = []
        for _ in range(self.sides[0] * self.sides[1]):
            features = steps.step(self.enter(drawn[-1]) if drawn else None, state)
            drawn.append(sample(self.leave(features), sampling, uniforms.draw(1)[:, 0].to(features.device)))
        return torch.stack(drawn, 1).view(-1, 1, *self.sides)

    def _conditions(self, vectors: Tensor) -> Tensor:
        return self.net.conditions(self.tell(vectors.flatten(1)))


class Stacked(nn.Module):
    """A first codec, which stays as it is, and a second over its codes; pictures in, few codes out."""

    def __init__(self, first: Codec, second: Codec) -> None:
        """Both codecs; of ``first`` nothing learns.

        Raises:
            BadSetting: the first has several codebooks, or other codes than the second takes.
        """
        super().__init__()
        size = getattr(second.encoder, "codebook_size", None)
        if first.quantizer.num_codebooks != 1 or first.quantizer.codebook_size != size:
            has = f"{first.quantizer.num_codebooks} x {first.quantizer.codebook_size}"
            raise BadSetting(f"the first codec has {has} codes, and the second takes 1 x {size}")
        self.first, self.second = first.eval().requires_grad_(False), second

    @property
    def bits(self) -> float:
        """Bits of a whole picture: 27 for three codes of 512."""
        quantizer = self.second.quantizer
        return quantizer.num_codebooks * math.log2(quantizer.codebook_size)

    def train(self, mode: bool = True) -> "Stacked":
        """Training mode, but for the first codec."""
        super().train(mode)
        self.first.eval()
        return self

    def forward(self, batch: Batch) -> CodecOutput:
        """One training pass of the second codec, over the codes of a batch of pictures."""
        return self.second(Batch(self.first.encode(batch.signal).indices))

    def encode(self, picture: Tensor) -> Codes:
        """Codes (B, groups, 1, 1) of pictures (B, C, H, W)."""
        return self.second.encode(self.first.encode(picture).indices)

    def decode(self, codes: Codes, **options: Any) -> Tensor:
        """Pictures of the codes; ``options`` are those of `CodesDecoder.generate`."""
        return self.first.decode(Codes(self.second.decode(codes, **options)))

    @torch.no_grad()
    def code_nats(self, codes: Codes) -> Tensor:
        """Nats (B, 1, H, W) that the first codec's codes take, the second's few being shared out over them.

        So it is a prior of the first codec, as `speechvq.image.bits.bits_per_dim` wants it.
        """
        few = self.second.encode(codes.indices)
        decoder, vectors = self.second.decoder, self.second.quantizer.decode(few.indices)
        assert isinstance(decoder, CodesDecoder)
        with evaluating(decoder):
            nats = decoder.nats_of(vectors, codes.indices)
        return nats + self.bits * math.log(2) / nats[0].numel()


def _checked(sides: tuple[int, int]) -> tuple[int, int]:
    if len(sides) != 2 or min(sides) < 1:
        raise BadSetting(f"the sides of a grid of codes are {sides}; give rows and columns, at least 1 each")
    return sides[0], sides[1]


def _fitting(signal: Tensor, sides: tuple[int, int], codebook_size: int) -> Tensor:
    """The codes (B, H, W) of (B, 1, H, W).

    Raises:
        BadCodes: they are on another grid, or beyond the codebook.
    """
    if signal.is_floating_point() or signal.dim() != 4 or tuple(signal.shape[1:]) != (1, *sides):
        raise BadCodes(
            f"codes (B, 1, {sides[0]}, {sides[1]}) are needed, not {tuple(signal.shape)} {signal.dtype}"
        )
    if signal.numel() and not 0 <= int(signal.min()) <= int(signal.max()) < codebook_size:
        raise BadCodes(f"there are codes beyond 0 ... {codebook_size - 1}, which this codec does not know")
    return signal[:, 0]
