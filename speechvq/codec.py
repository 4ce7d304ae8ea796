"""A codec: an encoder, a quantizer and a decoder, of any modality, saved and loaded as one folder.

The hall knows interfaces only. A room (speech, image, video) puts its encoders and decoders into the
tables below when it is imported; a saved codec names its room, out of the closed list `ROOMS`.
"""

import hashlib
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting, UnknownName
from speechvq.quantize import QUANTIZERS, Quantized, Quantizer
from speechvq.store.weights import load_config, load_into, save_folder
from speechvq.table import Table

ROOMS = ("speech", "image")


@dataclass(frozen=True)
class Codes:
    """What a codec emits, a store holds and a prior models.

    Attributes:
        indices: (B, K, *grid) integers; -1 where the mask is False.
        mask: (B, *grid), True where valid; None when all are.
        grain: coarse map of granularities, for dynamic codecs only.
    """

    indices: Tensor
    mask: Tensor | None = None
    grain: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What every room's data yields and every objective takes.

    Attributes:
        signal: (B, C, *size).
        mask: (B, *size), True where valid; None when all is.
        condition: named tensors with B rows. Speech: "speaker" (B,) int64 into decoder.speakers;
            optional "embedding" (B, 256), "pitch" (B, frames) Hz at 100 Hz, 0 unvoiced, -1 unknown.
    """

    signal: Tensor
    mask: Tensor | None = None
    condition: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.signal.to(device), mask, {k: v.to(device) for k, v in self.condition.items()})


@dataclass(frozen=True)
class Reconstruction:
    """What a decoder says about one training batch.

    Attributes:
        losses: named scalars, already weighted ("sound/nll", "sound/mel" ...).
        signal: (B, C, *size) differentiable, or None when the decoder makes none in training.
    """

    losses: dict[str, Tensor]
    signal: Tensor | None = None


class Encoder(nn.Module, ABC):
    """Signal to vectors. Subclasses are final, and a table makes them remember their ``spec``."""

    dim: int
    """Channels D of the vectors."""
    hop: int
    """Samples (or pixels a side) per vector."""
    receptive_field: int
    """Samples that one vector can see."""
    spec: dict[str, Any]

    @abstractmethod
    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """Signal (B, C, *size) to vectors (B, D, *grid); ``mask`` (B, *size) is True where valid."""

    @abstractmethod
    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The grid that a signal of ``size`` becomes."""

    def code_mask(self, mask: Tensor) -> Tensor:
        """(B, *size), padded at the end of each axis, to (B, *grid): the unpadded signal's codes."""
        axes = range(1, mask.dim())
        extents = [mask.movedim(a, 1).reshape(*mask.shape[:1], mask.shape[a], -1).any(2).sum(1) for a in axes]
        valid = mask.new_zeros((len(mask), *self.grid(tuple(mask.shape[1:]))), dtype=torch.bool)
        for row, size in enumerate(torch.stack(extents, dim=1).tolist()):
            if all(size):
                valid[(row, *(slice(0, max(0, n)) for n in self.grid(tuple(size))))] = True
        return valid


class Decoder(nn.Module, ABC):
    """Vectors to signal. Subclasses are final."""

    dim: int
    hop: int
    speakers: tuple[str, ...]
    """Names of the voices it can speak in; empty when it is not conditioned."""
    spec: dict[str, Any]

    @abstractmethod
    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """The training losses of ``vectors`` (B, D, *grid) against the batch they came from."""

    @abstractmethod
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, *grid) to signal (B, C, *size), without gradient; ``options`` are the room's."""


ENCODERS: Table[Encoder] = Table("encoder")
DECODERS: Table[Decoder] = Table("decoder")


@dataclass(frozen=True)
class CodecOutput:
    """One training pass: what the encoder, the quantizer and the decoder said."""

    latents: Tensor
    quantized: Quantized
    reconstruction: Reconstruction

    @property
    def losses(self) -> dict[str, Tensor]:
        """Every loss by its path name: "vq/..." from the quantizer, the others from the decoder."""
        return {f"vq/{k}": v for k, v in self.quantized.losses.items()} | self.reconstruction.losses

    @property
    def loss(self) -> Tensor:
        """The sum of `losses`, a scalar."""
        return torch.stack([value.float() for value in self.losses.values()]).sum()


class Codec(nn.Module):
    """``codec.encode(signal)`` gives `Codes`; ``codec.decode(codes, speaker="slt")`` a signal."""

    def __init__(
        self, encoder: Encoder, quantizer: Quantizer, decoder: Decoder, *, room: str, rate: float
    ) -> None:
        """``rate`` is the signal's samples per second (frames per second for films)."""
        super().__init__()
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
            raise BadSetting(f"the rate {rate!r} must be a positive number of samples per second")
        if not encoder.dim == quantizer.dim == decoder.dim:
            dims = (encoder.dim, quantizer.dim, decoder.dim)
            raise BadSetting(f"encoder, quantizer and decoder must have one dim, not {dims}")
        if encoder.hop != decoder.hop:
            raise BadSetting(f"the encoder's hop {encoder.hop} must be the decoder's {decoder.hop}")
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.room, self.rate = room, rate

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> Self:
        """A new codec from its `config`; quantizer and decoder take ``dim``, ``hop`` from the encoder."""
        if missing := {"room", "rate", "encoder", "quantizer", "decoder"} - set(config):
            raise BadSetting(f"the codec's configuration has no {', '.join(sorted(missing))}")
        if config["room"] not in ROOMS:
            raise UnknownName("room", str(config["room"]), list(ROOMS))
        importlib.import_module(f"speechvq.{config['room']}")
        encoder = ENCODERS.build(config["encoder"])
        quantizer = QUANTIZERS.build(_fitted(QUANTIZERS, config["quantizer"], encoder))
        decoder = DECODERS.build(_fitted(DECODERS, config["decoder"], encoder))
        return cls(encoder, quantizer, decoder, room=config["room"], rate=config["rate"])

    @property
    def config(self) -> dict[str, Any]:
        """The plain mapping from which `build` makes an equal codec (with other weights)."""
        parts = {name: getattr(self, name).spec for name in ("encoder", "quantizer", "decoder")}
        return {"room": self.room, "rate": self.rate, **parts}

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of what decides the codes: the encoder's and quantizer's weights.

        Codecs that differ in the decoder only understand one another's codes and share it.
        """
        digest = hashlib.sha256()
        for part in (self.encoder, self.quantizer):
            for name, tensor in sorted(part.state_dict().items()):
                digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def frame_rate(self) -> float:
        """Codes per second."""
        return self.rate / self.encoder.hop

    def forward(self, batch: Batch) -> CodecOutput:
        """One training pass; in training mode the quantizer may update its codebook."""
        mask = None if batch.mask is None else self.encoder.code_mask(batch.mask)
        latents = self.encoder(batch.signal, batch.mask)
        quantized = self.quantizer(latents, mask)
        return CodecOutput(latents, quantized, self.decoder.reconstruct(quantized.vectors, batch))

    @torch.no_grad()
    def encode(self, signal: Tensor, mask: Tensor | None = None) -> Codes:
        """`Codes` of ``signal`` (B, C, *size), in evaluation mode and without gradient."""
        with evaluating(self):
            indices = self.quantizer.encode(self.encoder(signal, mask))
        if mask is None:
            return Codes(indices)
        valid = self.encoder.code_mask(mask)
        return Codes(indices.masked_fill(~valid[:, None], -1), valid)

    @torch.no_grad()
    def decode(self, codes: Codes, **options: Any) -> Tensor:
        """The signal (B, C, *size) of ``codes``; ``options`` go to `Decoder.generate`."""
        with evaluating(self):
            return self.decoder.generate(self.quantizer.decode(codes.indices), codes.mask, **options)

    def save_pretrained(self, folder: str | Path, *, card: str | None = None, half: bool = False) -> None:
        """Write the folder; ``card`` is its README, ``half`` stores weights as float16."""
        save_folder(folder, config=self.config, tensors=self.state_dict(), card=card, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The codec of a folder, on the CPU, in evaluation mode; `BadCheckpoint` if it is not one."""
        return load_into(folder, lambda: cls.build(load_config(folder))).eval()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _fitted(table: Table[Any], spec: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    """``spec`` with the encoder's dim and hop where the class asks for them and the file is silent."""
    known = inspect.signature(table[str(spec.get("name"))]).parameters
    return {k: getattr(encoder, k) for k in ("dim", "hop") if k in known} | dict(spec)
