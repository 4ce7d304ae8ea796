"""Soft labels and stochastic codes, for a prior over the codes (Lee et al. 2022, section 3.2.3).

    Q(k | r) = softmax_k(-|r - e_k|^2 / temperature)        L = -mean sum_k Q(k | r_v) log p(k | ...)

r_v is what the codes before depth v left, in the space where codes are compared. A prior sees codes
drawn from Q, each depth on what the drawn codes left, and is taught the whole of Q. All of it takes
codebook_size floats a code (17 MB for 256 x 4 codes out of 16384), so `SoftTargets` keeps the rows
instead, and makes Q a tile at a time when the loss wants it. The temperature is in squared distance:
store it with the codec, and look at `SoftTargets.figures`.

Legend: B items, N rows, K codes, D channels, V depths, M = B x V x grid codes, T codes of one tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from speechvq.errors import BadSetting
from speechvq.kernels.plain import Scores, exact, tiles
from speechvq.quantize.base import Quantizer
from speechvq.quantize.codebook import Codebook
from speechvq.quantize.grouped import GroupedQuantizer
from speechvq.quantize.nearest import walk
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.rows import to_rows
from speechvq.quantize.vector import VectorQuantizer


@dataclass(frozen=True)
class Softness:
    """How soft the labels are, means over the valid codes of each codebook.

    A certainty near 1 says that the labels are as good as hard, an entropy near log K that they tell
    nothing: then the temperature does not fit the distances.

    Attributes:
        certainty: (V,) the largest probability, in [1 / K, 1].
        entropy: (V,) in nats, in [0, log K].
    """

    certainty: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class SoftLabels:
    """Codes, and what else they might have been.

    Attributes:
        indices: (B, V, *grid) int64; -1 where the mask is False.
        probabilities: (B, V, *grid, K) in float32 (float64 for a quantizer in it); 0 where the mask
            is False.
    """

    indices: Tensor
    probabilities: Tensor

    def figures(self) -> Softness:
        """How soft these are."""
        over = [d for d in range(self.indices.ndim) if d != 1]
        count_V = (self.indices >= 0).sum(over).clamp(min=1)
        certainty_V = self.probabilities.amax(-1).sum(over) / count_V
        return Softness(certainty_V, torch.special.entr(self.probabilities).sum(-1).sum(over) / count_V)


@dataclass(frozen=True, eq=False)
class _Stack:
    """Rows (N, D) that were walked through ``books`` and chose ``indices`` (V, N)."""

    rows: Tensor
    books: list[Tensor]
    indices: Tensor


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """The distribution Q of every code, made when it is needed.

    Holds no more than the rows; `labels` makes all of Q, `cross_entropy` a tile at a time.

    Attributes:
        indices: (B, V, *grid) int64, what a prior is shown; -1 where the mask is False.
        codebook_size: K.
        temperature: of Q, in squared distance.
    """

    indices: Tensor
    codebook_size: int
    temperature: float
    _stacks: list[_Stack]

    @torch.no_grad()
    def labels(self) -> SoftLabels:
        """All of Q at once."""
        first = self._stacks[0].rows
        whole_MK = first.new_empty(self.indices.numel(), self.codebook_size)
        for _, places_T, valid_T, p_TK in self.tiles():
            whole_MK[places_T] = torch.where(valid_T[:, None], p_TK, 0)
        return SoftLabels(self.indices, whole_MK.reshape(*self.indices.shape, self.codebook_size))

    @torch.no_grad()
    def figures(self) -> Softness:
        """How soft the labels are; costs one search."""
        V = self.indices.shape[1]
        sums_V2 = self._stacks[0].rows.new_zeros(V, 2)
        for v, _, valid_T, p_TK in self.tiles():
            found_T2 = torch.stack([p_TK.amax(1), torch.special.entr(p_TK).sum(1)], 1)
            sums_V2[v] += torch.where(valid_T[:, None], found_T2, 0).sum(0)
        count_V = (self.indices >= 0).movedim(1, 0).reshape(V, -1).sum(1).clamp(min=1)
        certainty_V, entropy_V = (sums_V2 / count_V[:, None]).unbind(1)
        return Softness(certainty_V, entropy_V)

    def cross_entropy(self, logits: Tensor, *, mean: bool = True) -> Tensor:
        """-sum_k Q(k) log softmax(logits)_k in nats, for ``logits`` (B, V, *grid, K) of any float type.

        The mean over the valid codes, or each code's own (B, V, *grid), 0 where the mask was False.
        Differentiable in ``logits``, whatever stands in the padding; computed as precisely as Q is,
        under any autocast. Neither Q nor, if they are contiguous, a second copy of the
        logits is held.

        Raises:
            BadSetting: the logits do not have the shape of the codes.
        """
        wanted = (*self.indices.shape, self.codebook_size)
        if logits.shape != wanted:
            raise BadSetting(
                f"the logits are {tuple(logits.shape)}; for these codes they must be {wanted}: (batch, "
                "codebooks, *grid, codebook_size)"
            )
        with torch.autocast(logits.device.type, enabled=False):
            flat_MK = logits.reshape(-1, self.codebook_size)
            nats_M: Tensor = _CrossEntropy.apply(flat_MK, self)  # type: ignore[assignment]
        if mean:
            return nats_M.sum() / (self.indices >= 0).sum().clamp(min=1)
        return nats_M.reshape(self.indices.shape)

    def tiles(self) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Q a tile at a time: (depth, places (T,) among all M codes, if they are valid (T,), Q (T, K)).

        Every code comes once, depth after depth.
        """
        # Rows run over (B, grid), codes over (B, V, grid).
        places = torch.arange(self.indices.numel(), device=self.indices.device)
        places_VN = places.reshape(self.indices.shape).movedim(1, 0).flatten(1)
        v = 0
        for stack in self._stacks:
            left_ND = stack.rows
            for depth, indices_N in enumerate(stack.indices):
                codes_KD = stack.books[depth if len(stack.books) > 1 else 0]
                scores = Scores(codes_KD)
                for part in tiles(left_ND, len(codes_KD), None):
                    with exact(left_ND.device.type):
                        p_TK = scores(left_ND[part]).mul_(-2 / self.temperature).softmax(1)
                    yield v, places_VN[v, part], indices_N[part] >= 0, p_TK
                left_ND = left_ND - F.embedding(indices_N.clamp(min=0), codes_KD)
                v += 1


class _CrossEntropy(torch.autograd.Function):
    """Nats (M,) of logits (M, K); its gradient is softmax(logits) - Q, with Q made a second time."""

    @staticmethod
    def forward(ctx: Any, logits_MK: Tensor, targets: SoftTargets) -> Tensor:
        ctx.save_for_backward(logits_MK)
        ctx.targets = targets
        nats_M = targets._stacks[0].rows.new_empty(len(logits_MK))
        for _, places_T, valid_T, p_TK in targets.tiles():
            log_TK = logits_MK[places_T].to(p_TK.dtype).log_softmax(1)
            nats_M[places_T] = torch.where(valid_T, -(p_TK * log_TK).sum(1), 0)
        return nats_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (logits_MK,) = ctx.saved_tensors
        (grad_M,) = grads
        slope_MK = torch.empty_like(logits_MK)
        for _, places_T, valid_T, p_TK in ctx.targets.tiles():
            own_TK = logits_MK[places_T].to(p_TK.dtype).softmax(1).sub_(p_TK)
            own_TK = torch.where(valid_T[:, None], own_TK * grad_M[places_T, None], 0)
            slope_MK[places_T] = own_TK.to(slope_MK.dtype)
        return slope_MK, None


@torch.no_grad()
def soft_targets(
    quantizer: Quantizer, z: Tensor, *, temperature: float, sample: bool = False, mask: Tensor | None = None
) -> SoftTargets:
    """The codes of ``z`` (B, D, *grid) and their distributions Q; ``mask`` (B, *grid) is True where valid.

    Each depth goes on with what the code before left: the nearest one, or with ``sample`` one drawn
    from Q by torch's random numbers, which also are the ``indices``. Never changes the quantizer.

    Raises:
        BadSetting: the temperature is not above 0, or the quantizer does not compare distances.
    """
    if not temperature > 0:
        raise BadSetting(f"the temperature of the soft labels is {temperature}; it must be above 0")
    indices, stacks = [], []
    with torch.autocast(z.device.type, enabled=False):
        for one, part in _stacks_of(quantizer, z):
            # Copies: the codebook may learn before the loss is asked for.
            books = [codebook.codes().detach().clone() for codebook in _codebooks(one)]
            rows = to_rows(part, mask, one.dim, books[0].dtype)
            y_ND = one.passage.into(rows.x)
            found_VN = walk(
                y_ND,
                books,
                visits=one.num_codebooks,
                depths_N=rows.depths(one.num_codebooks),
                temperature=temperature if sample else 0.0,
            ).indices
            indices.append(rows.to_indices(found_VN))
            stacks.append(_Stack(y_ND, books, found_VN))
    return SoftTargets(torch.cat(indices, 1), quantizer.codebook_size, temperature, stacks)


def soft_labels(
    quantizer: Quantizer, z: Tensor, *, temperature: float, sample: bool = False, mask: Tensor | None = None
) -> SoftLabels:
    """All of Q at once, codebook_size floats a code; see `soft_targets`."""
    return soft_targets(quantizer, z, temperature=temperature, sample=sample, mask=mask).labels()


def _stacks_of(quantizer: Quantizer, z: Tensor) -> list[tuple[VectorQuantizer | ResidualQuantizer, Tensor]]:
    """Each stack of codebooks, and the channels that it quantizes."""
    if isinstance(quantizer, (VectorQuantizer, ResidualQuantizer)):
        return [(quantizer, z)]
    if not isinstance(quantizer, GroupedQuantizer):
        raise BadSetting(
            f"{type(quantizer).__name__} does not choose codes by their distance, so it has no soft labels; "
            "use a vector, residual or grouped quantizer"
        )
    if z.ndim < 2 or z.shape[1] != quantizer.dim:
        raise BadSetting(f"the quantizer takes (batch, {quantizer.dim}, *grid), but got {tuple(z.shape)}")
    groups = [group for group in quantizer.groups if isinstance(group, ResidualQuantizer)]
    return list(zip(groups, z.split(quantizer.dim // len(groups), dim=1), strict=True))


def _codebooks(stack: VectorQuantizer | ResidualQuantizer) -> list[Codebook]:
    """One for all depths, or one a depth."""
    if isinstance(stack, VectorQuantizer):
        return [stack.codebook]
    return [codebook for codebook in stack.codebooks if isinstance(codebook, Codebook)]
