"""A codec: an encoder, a quantizer and a decoder, of any modality, saved and loaded as one folder.

The hall knows interfaces only. A room (speech, image, video) puts its encoders and decoders into the
tables below when it is imported; a saved codec names its room, out of the closed list `ROOMS`.
"""

import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechvq.errors import BadCheckpoint, UnknownName
from speechvq.quantize import QUANTIZERS, Quantized, Quantizer
from speechvq.store.weights import load_weights, save_weights
from speechvq.table import Table

ROOMS = ("speech",)


@dataclass(frozen=True)
class Codes:
    """What a codec emits, a store holds and a prior models.

    Attributes:
        indices: (B, K, *grid) integers.
        mask: (B, *grid), True where a code is valid; None when all are.
        grain: coarse map of granularities, for dynamic codecs only.
    """

    indices: Tensor
    mask: Tensor | None = None
    grain: Tensor | None = None


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


class Decoder(nn.Module, ABC):
    """Vectors to signal. Subclasses are final."""

    dim: int
    hop: int
    speakers: tuple[str, ...]
    """Names of the voices it can speak in; empty when it is not conditioned."""
    spec: dict[str, Any]

    @abstractmethod
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, *grid) to signal (B, C, *size); ``options`` are the room's (speaker ...)."""


ENCODERS: Table[Encoder] = Table("encoder")
DECODERS: Table[Decoder] = Table("decoder")


class Codec(nn.Module):
    """Encoder + quantizer + decoder.

    ``codec.encode(signal)`` gives `Codes`; ``codec.decode(codes, speaker="slt")`` gives a signal.
    """

    def __init__(self, encoder: Encoder, quantizer: Quantizer, decoder: Decoder, *, room: str,
                 rate: float) -> None:
        """``rate`` is the signal's samples per second (frames per second for films)."""
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder
        self.room, self.rate = room, rate

    @property
    def frame_rate(self) -> float:
        """Codes per second."""
        return self.rate / self.encoder.hop
