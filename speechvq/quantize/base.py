"""What a quantizer is: vectors on a grid in, integers out, and the vectors those integers stand for.

One shape law for sound, pictures and films. Vectors are ``(B, D, *grid)`` with grid ``(T,)``,
``(H, W)`` or ``(T, H, W)``; indices are ``(B, K, *grid)`` with K the number of codebooks.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from speechvq.table import Table


@dataclass(frozen=True)
class Quantized:
    """What a quantizer returns.

    Attributes:
        vectors: (B, D, *grid), what the decoder sees; the gradient passes straight through to the
            input. Zero where the mask is False.
        indices: (B, K, *grid) int64; -1 where the mask is False.
        losses: named scalars, already weighted, to be added to the objective
            ("codebook", "commitment", ...).
        stats: named detached scalars: "perplexity" in [1, codebook_size], "usage" in (0, 1],
            "error" (mean squared quantization error over the input's variance), "revived" codes; and
            "counts" (K, codebook_size), how often each code was used, over all workers in training.
    """

    vectors: Tensor
    indices: Tensor
    losses: dict[str, Tensor]
    stats: dict[str, Tensor]


class Quantizer(nn.Module, ABC):
    """Interface of every quantizer. Subclasses are final."""

    num_codebooks: int
    codebook_size: int
    dim: int

    @abstractmethod
    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize ``z`` (B, D, *grid); ``mask`` (B, *grid) is True where valid.

        In training mode the codebook may learn from the valid vectors, after they were quantized.
        """

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Indices (B, K, *grid) of ``z`` (B, D, *grid); never changes the codebook."""

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Vectors (B, D, *grid) of ``indices`` (B, k, *grid), k at most K; index -1 gives zeros."""


QUANTIZERS: Table[Quantizer] = Table("quantizer")
