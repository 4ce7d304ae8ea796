"""A code is the signs of its channels, so nothing is looked up: LFQ (Yu et al. 2023, MAGVIT-v2, section 3.1).

    code = sign(z)      index = sum_i 2^i [z_i > 0]      p(c | z) = softmax over all codes c of 2 z.c / T

The entropy loss (equation 5) is the mean over vectors of H(p(. | z)), which makes each vector decide,
less a multiple of H of the mean p, which makes all codes be used. Neither needs the N x K matrix:

- p(c | z) is a product over the channels, p(c_i = 1) = sigmoid(4 z_i / T), so the first is a sum of
  the entropies of single bits;
- with the channels cut in two halves, the sum of p over vectors is one product of an (N, sqrt K)
  and an (N, sqrt K) matrix, exact, and so is its gradient.

Legend: N vectors, D channels outside, C = log2 K channels of a code, K codes, A and B codes of the halves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.gradient import straight_through
from speechvq.quantize.rows import Rows, check_depth, check_sizes, never_half, to_rows
from speechvq.quantize.scalar import MOST_CODES, health, places, project_codes, projection, to_digits


@dataclass(frozen=True)
class BitEntropy:
    """The loss that makes vectors decide and codes be used."""

    weight: float = 0.1
    """Weight of the whole loss; 0 leaves it out."""
    diversity: float = 1.0
    """How much the entropy of the mean counts against that of the single vectors; gamma."""
    temperature: float = 0.01
    """T: vectors within about T / 4 of zero are the undecided ones, and the ones that learn."""
    sample: float = 1.0
    """Fraction of the vectors, in (0, 1], that the mean is taken over; less is faster."""

    def __post_init__(self) -> None:
        if not self.weight >= 0 or not self.diversity >= 0:
            raise BadSetting(
                f"the entropy's weight is {self.weight} and its diversity {self.diversity}; "
                "both must be at least 0"
            )
        if not self.temperature > 0:
            raise BadSetting(f"the entropy's temperature is {self.temperature}; it must be above 0")
        if not 0 < self.sample <= 1:
            raise BadSetting(f"the entropy's sample is {self.sample}; it must be in (0, 1]")


@QUANTIZERS.register("lfq")
class LFQ(Quantizer):
    """Lookup-free quantization: ``indices`` (B, 1, *grid), codes of -1 and 1.

    Losses "commitment" and, unless its weight is 0, "entropy". In training both are means over the
    vectors of all workers, equal on each of them, and gradients averaged over the workers, as DDP
    does, are those of one worker with all vectors. ``stats["error"]`` is that of the signs, over the
    variance of z; it may exceed 1. The counts take 4 bytes a code.
    """

    num_codebooks = 1
    places: Tensor
    sides: Tensor

    def __init__(
        self,
        codebook_size: int,
        *,
        dim: int | None = None,
        entropy: BitEntropy = BitEntropy(),  # noqa: B008  (frozen)
        commitment: float = 0.25,
    ) -> None:
        """``codebook_size`` is a power of two; ``dim`` channels outside, its logarithm if None.

        Where ``dim`` is not the logarithm, a learned linear map leads in and another out.
        ``commitment`` is the weight of the mean squared distance between z and its signs.

        Raises:
            BadSetting: ``codebook_size`` is no power of two in [2, 2^30], ``dim`` is below 1, or
                ``commitment`` below 0.
        """
        super().__init__()
        check_sizes(codebook_size=codebook_size)
        if codebook_size < 2 or codebook_size & (codebook_size - 1) or codebook_size >= MOST_CODES:
            raise BadSetting(
                f"the codebook_size is {codebook_size}; it must be a power of two from 2 to 2^30"
            )
        if not commitment >= 0:
            raise BadSetting(f"the commitment weight is {commitment}; it must be at least 0")
        bits = codebook_size.bit_length() - 1
        self.dim, self.codebook_size = bits if dim is None else dim, codebook_size
        check_sizes(dim=self.dim)
        self.entropy, self.commitment = entropy, commitment
        self.project_in = projection(self.dim, bits)
        self.project_out = projection(bits, self.dim)
        self.register_buffer("places", places([2] * bits), persistent=False)
        self.register_buffer("sides", torch.tensor([-1.0, 1.0]), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LFQ":
        return super()._apply(never_half(fn), recurse)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`. The gradient passes the signs straight through."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self.sides.dtype)
            x_NC = self.project_in(rows.x)
            bits_NC = (x_NC > 0).to(torch.int64)
            codes_NC, indices_N = self.sides[bits_NC], (bits_NC * self.places).sum(1)
            losses = self._losses(x_NC, codes_NC, rows)
            stats = health(x_NC, codes_NC, indices_N, rows.valid, self.codebook_size, training=self.training)
            vectors_ND = self.project_out(straight_through(x_NC, codes_NC))
        return Quantized(rows.to_vectors(vectors_ND), rows.to_indices(indices_N[None]), losses, stats)

    def _losses(self, x_NC: Tensor, codes_NC: Tensor, rows: Rows) -> dict[str, Tensor]:
        """Losses over the valid rows; in training over those of all workers, in one call."""
        settings = self.entropy
        weight_N = torch.ones_like(x_NC[:, 0]) if rows.valid is None else rows.valid.to(x_NC.dtype)
        count = weight_N.sum()
        means = [weight_N @ (x_NC - codes_NC).square().mean(1) / count.clamp(min=1)]
        if settings.weight > 0:
            means.append(weight_N @ token_entropy(x_NC, settings.temperature) / count.clamp(min=1))
            some_NC, some_N = _sampled(x_NC, weight_N, settings.sample)
            some_N = some_N / some_N.sum().clamp(min=1)
            means.append(summed_probabilities(some_NC, some_N, settings.temperature))
        flat = torch.cat([m.reshape(-1) for m in means])
        flat = workers.mean_over(flat, count) if self.training else flat
        losses = {"commitment": self.commitment * flat[0]}
        if settings.weight > 0:
            mean_K = flat[2:]
            # The bound keeps the slope at p = 0 finite; what lies below it adds nothing.
            spread = -(mean_K * mean_K.clamp(min=1e-30).log()).sum()
            losses["entropy"] = settings.weight * (flat[1] - settings.diversity * spread)
        return losses

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, None, self.dim, self.sides.dtype)
            bits_NC = (self.project_in(rows.x) > 0).to(torch.int64)
        return rows.to_indices((bits_NC * self.places).sum(1)[None])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        return project_codes(self.project_out, self.codes(indices), indices)

    def codes(self, indices: Tensor) -> Tensor:
        """Codes (B, C, *grid) of -1 and 1, before the map that leads out; index -1 gives zeros.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        bits = to_digits(indices[:, 0], self.places, torch.full_like(self.places, 2))
        return torch.where(indices[:, 0, ..., None] >= 0, self.sides[bits], 0).movedim(-1, 1)

    def indices_of(self, codes: Tensor) -> Tensor:
        """Indices (B, 1, *grid) of ``codes`` (B, C, *grid), the inverse of `codes`, in any float type."""
        bits = (codes.movedim(1, -1) > 0).to(torch.int64)
        return (bits * self.places).sum(-1).unsqueeze(1)


def _sampled(x_NC: Tensor, weight_N: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """A fraction of the rows at random, without repeats, and their weights."""
    if fraction == 1:
        return x_NC, weight_N
    N = len(x_NC)
    chosen = torch.randperm(N, device=x_NC.device)[: math.ceil(N * fraction)]
    return x_NC[chosen], weight_N[chosen]


def token_entropy(z_NC: Tensor, temperature: float) -> Tensor:
    """H(p(. | z)) in nats, (N,), of every vector: in [0, C log 2]."""
    size_NC = (4 / temperature * z_NC).abs()
    # H(sigmoid(x)) = softplus(-|x|) + |x| sigmoid(-|x|), in which nothing cancels.
    return (F.softplus(-size_NC) + size_NC * torch.sigmoid(-size_NC)).sum(1)


def summed_probabilities(z_NC: Tensor, weight_N: Tensor, temperature: float) -> Tensor:
    """p(c | z) of every code (K,), summed over the vectors with their weights."""
    x_NC = 4 / temperature * z_NC
    bits_NC2 = torch.stack([torch.sigmoid(-x_NC), torch.sigmoid(x_NC)], dim=2)
    cut = z_NC.shape[1] // 2
    low_NA, high_NB = _joint(bits_NC2[:, :cut]), _joint(bits_NC2[:, cut:])
    return ((high_NB * weight_N[:, None]).T @ low_NA).reshape(-1)


def _joint(bits_NC2: Tensor) -> Tensor:
    """The probability of every code of independent bits (N, 2^C); the first bit is the lowest."""
    joint_NK = bits_NC2.new_ones(bits_NC2.shape[0], 1)
    for bit_N2 in bits_NC2.unbind(1):
        joint_NK = (bit_N2[:, :, None] * joint_NK[:, None, :]).flatten(1)
    return joint_NK
