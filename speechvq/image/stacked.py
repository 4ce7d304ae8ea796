"""Two VQ-VAEs as one codec: pictures to the codes of the first, those to three codes of the second, 27 bits.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.2, DM-Lab): the first codec's
21 x 21 codes go through an encoder to three latents, each with a codebook of 512 codes of its own (the
quantizer "grouped" of three groups), and a PixelCNN says every code of the first from those before it and
the three. A decoder that strong could do without latents; that these are used shows that they do not
collapse.

The encoder holds the listening half of the first codec, which is finished, and the decoder the other half. So
both together are saved, loaded and used as any codec of pictures. What is learned from are codes.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechvq.codec import (
    DECODERS,
    ENCODERS,
    Batch,
    Codec,
    Codes,
    Decoder,
    Encoder,
    Reconstruction,
    evaluating,
)
from speechvq.errors import BadCodes, BadSetting
from speechvq.image.board import Medium, words
from speechvq.image.second import CodesDecoder, CodesEncoder
from speechvq.image.sheet import sheet
from speechvq.nets.pixelcnn import Stacks
from speechvq.nets.sampling import Sampling, sampling_of


@ENCODERS.register("stacked")
class StackedEncoder(Encoder):
    """Pictures (B, C, H, W), or the first codec's codes of them, to one vector (B, dim, 1, 1) each."""

    def __init__(
        self, dim: int = 192, *, first: Mapping[str, Any], sides: tuple[int, int], channels: int = 128
    ) -> None:
        """Build the second encoder upon the first.

        Args:
            dim: of the vector; with three groups, of all three latents together.
            first: `Codec.config` of the first codec; its weights are given by `stack`, or when loading.
            sides: rows and columns of the first codec's codes of every picture.
            channels: of the second encoder.

        Raises:
            BadSetting: the first codec is not of pictures, or has several codebooks.
        """
        super().__init__()
        codec = _opened(first)
        self.first_encoder, self.first_quantizer = codec.encoder, codec.quantizer
        self.second = CodesEncoder(dim, codec.quantizer.codebook_size, sides, channels=channels)
        self.dim, self.colours = dim, int(getattr(codec.encoder, "colours", 0))
        self.hop = self.receptive_field = codec.encoder.hop * max(sides)

    def train(self, mode: bool = True) -> "StackedEncoder":
        """Training mode, but for the first codec."""
        super().train(mode)
        _keep(self.first_encoder, self.first_quantizer)
        return self

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) floats, or codes (B, 1, h, w), to (B, dim, 1, 1); pictures are whole, without mask."""
        return self.second(self.look(signal) if signal.is_floating_point() else signal)

    @torch.no_grad()
    def look(self, picture: Tensor) -> Tensor:
        """The first codec's codes (B, 1, h, w) of pictures (B, C, H, W).

        Raises:
            BadCodes: the pictures have another size than those that it was made for.
        """
        has, (rows, columns) = self.first_encoder.grid(tuple(picture.shape[2:])), self.second.sides
        if has != (rows, columns):
            raise BadCodes(
                f"the codec takes pictures that become {rows} x {columns} codes of "
                f"{self.first_encoder.hop} pixels a side, and not {' x '.join(map(str, has))}"
            )
        return self.first_quantizer.encode(self.first_encoder(picture))

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """One place."""
        return (1, 1)


@DECODERS.register("stacked")
class StackedDecoder(Decoder):
    """A vector (B, dim, 1, 1) to the first codec's codes, drawn from a PixelCNN, and those to a picture."""

    speakers, draws = (), True

    def __init__(
        self,
        dim: int = 192,
        *,
        first: Mapping[str, Any],
        sides: tuple[int, int],
        stacks: Stacks = Stacks(),  # noqa: B008 (frozen)
    ) -> None:
        """As `StackedEncoder`; ``stacks`` are the widths and depths of the PixelCNN."""
        super().__init__()
        codec = _opened(first)
        self.first_quantizer, self.first_decoder = codec.quantizer, codec.decoder
        self.second = CodesDecoder(dim, codec.quantizer.codebook_size, sides, stacks=stacks)
        self.dim, self.hop = dim, codec.decoder.hop * max(sides)

    def train(self, mode: bool = True) -> "StackedDecoder":
        """Training mode, but for the first codec."""
        super().train(mode)
        _keep(self.first_quantizer, self.first_decoder)
        return self

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Loss "codes/nll", nats per code of the first codec; the batch's signal are those codes."""
        return Reconstruction({"codes/nll": self.second.nats(vectors, batch.signal).mean()})

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, dim, 1, 1) to pictures (B, C, H, W).

        Options:
            sampling: a `Sampling` of the first codec's codes; temperature 1 by default.
            seed: in place of the sampling's, and of whatever else the first codec's decoder draws.
            others: those of the first codec's decoder.
        """
        codes = self.second.draw(vectors, sampling_of(options))
        options.pop("sampling", None)
        if not options.get("draw"):  # the first codec's decoder draws nothing
            options.pop("seed", None)
        return self.first_decoder.generate(self.first_quantizer.decode(codes), **options)


def stack(
    first: Codec,
    sides: tuple[int, ...],
    *,
    encoder: Mapping[str, Any] | None = None,
    quantizer: Mapping[str, Any],
    decoder: Mapping[str, Any] | None = None,
) -> Codec:
    """A new second codec on top of a finished first.

    Args:
        first: its weights are copied, and of the copy nothing learns.
        sides: rows and columns of its codes of every picture.
        encoder: settings of `StackedEncoder`, but for ``first`` and ``sides``.
        quantizer: of the one vector of each picture.
        decoder: settings of `StackedDecoder`, likewise.

    Raises:
        BadSetting: the first codec is not of pictures, or has several codebooks.
    """
    below = {"name": "stacked", "first": first.config, "sides": sides}
    parts = {"encoder": {**below, **(encoder or {})}, "decoder": {**below, **(decoder or {})}}
    codec = Codec.build({"room": first.room, "rate": first.rate, "quantizer": quantizer, **parts})
    lend(codec, first)
    return codec


def lend(codec: Codec, first: Codec) -> None:
    """Give the first codec inside of a stacked one the weights of ``first``."""
    encoder, decoder = _halves(codec)
    for own, given in (
        (encoder.first_encoder, first.encoder),
        (encoder.first_quantizer, first.quantizer),
        (decoder.first_quantizer, first.quantizer),
        (decoder.first_decoder, first.decoder),
    ):
        own.load_state_dict(given.state_dict())


def first_of(codec: Codec) -> Codec:
    """The first codec inside of a stacked one, the same modules."""
    encoder, decoder = _halves(codec)
    parts = encoder.first_encoder, encoder.first_quantizer, decoder.first_decoder
    return Codec(*parts, room=codec.room, rate=codec.rate).eval()


@torch.no_grad()
def code_nats(codec: Codec, codes: Codes) -> Tensor:
    """Nats (B, 1, H, W) that the first codec's codes take, the second's few being shared out over them.

    So a stacked codec is a prior of its first, as `speechvq.image.bits.bits_per_dim` wants it.
    """
    quantizer = codec.quantizer
    with evaluating(codec):
        vectors = quantizer.decode(codec.encode(codes.indices).indices)
        nats = _halves(codec)[1].second.nats(vectors, codes.indices)
    return nats + quantizer.num_codebooks * math.log(quantizer.codebook_size) / nats[0].numel()


@torch.no_grad()
def media(codec: Codec, batch: Batch, *, columns: int = 8, draws: int = 2) -> list[Medium]:
    """What the first codec makes of its codes in the upper row; below, drawn from the few codes of each.

    Args:
        codec: stacked; left in the mode it is in.
        batch: held-out codes (B, 1, H, W) of the first, always the same ones.
        columns: pictures to show, at most.
        draws: rows below.
    """
    shown = batch.signal[:columns]
    few = codec.encode(shown)
    rows = [first_of(codec).decode(Codes(shown))]
    rows += [codec.decode(few, sampling=Sampling(seed=seed)) for seed in range(draws)]
    return [
        Medium("pairs/first-stacked", "image", sheet(torch.cat(rows), columns=len(shown))),
        Medium("codes/pair-0", "text", words(few.indices[0])),
    ]


def _opened(config: Mapping[str, Any]) -> Codec:
    """A first codec, frozen."""
    if config.get("room") != "image":
        raise BadSetting(f"a codec of pictures is needed for the first, not of room {config.get('room')!r}")
    codec = Codec.build(config)
    if codec.quantizer.num_codebooks != 1:
        has = f"{codec.quantizer.num_codebooks} x {codec.quantizer.codebook_size}"
        raise BadSetting(f"the first codec has {has} codes a place, and the second takes one codebook's")
    return codec.eval().requires_grad_(False)


def _keep(*parts: nn.Module) -> None:
    for part in parts:
        part.eval()


def _halves(codec: Codec) -> tuple[StackedEncoder, StackedDecoder]:
    if not (isinstance(codec.encoder, StackedEncoder) and isinstance(codec.decoder, StackedDecoder)):
        raise BadSetting(f"a stacked codec is needed, not one of {type(codec.encoder).__name__}")
    return codec.encoder, codec.decoder
