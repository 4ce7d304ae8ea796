"""Every channel rounded by itself, and the rounded channels read as one number: FSQ (Mentzer et al. 2023).

    f(z) = tanh(z + s) (L - 1)(1 - 1e-3) / 2 - o        o = 1/2 for even L, else 0

brings a channel between the lowest and highest of its L whole numbers; it is rounded, and divided by
floor(L / 2). The shift s makes f(0) = 0 for even L too. The codebook is the grid of all combinations:
nothing in it is learned, so nothing dies, and there is no loss. Channel i counts as digit i of the
index, the first one lowest (the paper's appendix A.1).

Legend: N vectors, D channels outside, C channels of a code.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.follow import stats
from speechvq.quantize.gradient import in_backward, straight_through
from speechvq.quantize.rows import check_depth, check_sizes, never_half, to_rows

MOST_CODES = 2**31
"""Indices stay below this, so that 32-bit stores can hold them."""
INSIDE = 1e-3
"""How far the bounded channel stays inside its outermost whole numbers, as a fraction."""


@QUANTIZERS.register("fsq")
class FSQ(Quantizer):
    """Finite scalar quantization: ``indices`` (B, 1, *grid), codes in [-1, 1], no losses.

    Even numbers of levels are not symmetric about zero: 8 levels are -4/4 ... 3/4. The paper's sets:
    (8, 6, 5) for 2^8 codes, (8, 5, 5, 5) for 2^10, (7, 5, 5, 5, 5) for 2^12, (8, 8, 8, 6, 5) for 2^14
    and (8, 8, 8, 5, 5, 5) for 2^16. ``stats["error"]`` is that of the rounding alone: taken between
    f(z) and the code, over the variance of f(z). The counts take 4 bytes a code.
    """

    num_codebooks = 1
    levels: Tensor
    places: Tensor
    width: Tensor
    reach: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, levels: tuple[int, ...], *, dim: int | None = None) -> None:
        """``levels`` of each channel of a code; ``dim`` channels outside, as many as levels if None.

        Where ``dim`` is not the number of levels, a learned linear map leads in and another out.

        Raises:
            BadSetting: no levels, one below 2, or 2^31 codes and more; or ``dim`` is below 1.
        """
        super().__init__()
        _check_levels(levels)
        self.dim, self.codebook_size = len(levels) if dim is None else dim, math.prod(levels)
        check_sizes(dim=self.dim)
        self.project_in = projection(self.dim, len(levels))
        self.project_out = projection(len(levels), self.dim)
        levels_C = torch.tensor(tuple(levels))
        offset_C = torch.where(levels_C % 2 == 0, 0.5, 0.0)
        reach_C = (levels_C - 1) * (1 - INSIDE) / 2
        # Among the weights, because the levels decide what an index means.
        self.register_buffer("levels", levels_C)
        self.register_buffer("places", places(levels), persistent=False)
        self.register_buffer("width", levels_C // 2, persistent=False)
        self.register_buffer("reach", reach_C, persistent=False)
        self.register_buffer("offset", offset_C, persistent=False)
        self.register_buffer("shift", (offset_C / reach_C).tan(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FSQ":
        return super()._apply(never_half(fn), recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(prefix + "levels")
        if stored is not None and stored.tolist() != self.levels.tolist():
            raise BadSetting(
                f"the weights are of an FSQ with levels {tuple(stored.tolist())}, but this one has "
                f"{tuple(self.levels.tolist())}; make it with the levels it was trained with"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def bound(self, z_NC: Tensor) -> Tensor:
        """f of the paper: each channel (..., C) between its lowest and highest whole number."""
        return torch.tanh(z_NC + self.shift) * self.reach - self.offset

    def _digits(self, bounded_NC: Tensor) -> Tensor:
        # What is not a number has no digit; the clamp keeps its index within the codebook.
        digits_NC = bounded_NC.round().to(torch.int64) + self.width
        return digits_NC.clamp(min=0).minimum(self.levels - 1)

    def _codes(self, digits_NC: Tensor) -> Tensor:
        return (digits_NC - self.width).to(self.reach.dtype) / self.width

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`. The gradient is that of f: rounding alone is passed straight through."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self.reach.dtype)
            bounded_NC = self.bound(self.project_in(rows.x))
            digits_NC = self._digits(bounded_NC)
            indices_N = (digits_NC * self.places).sum(1)
            codes_NC, soft_NC = self._codes(digits_NC), bounded_NC / self.width
            figures = health(
                soft_NC, codes_NC, indices_N, rows.valid, self.codebook_size, training=self.training
            )
            vectors_ND = self.project_out(straight_through(soft_NC, codes_NC))
        return Quantized(rows.to_vectors(vectors_ND), rows.to_indices(indices_N[None]), {}, figures)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, None, self.dim, self.reach.dtype)
            digits_NC = self._digits(self.bound(self.project_in(rows.x)))
        return rows.to_indices((digits_NC * self.places).sum(1)[None])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        return project_codes(self.project_out, self.codes(indices), indices)

    def codes(self, indices: Tensor) -> Tensor:
        """Codes (B, C, *grid) in [-1, 1], before the map that leads out; index -1 gives zeros.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        codes = self._codes(to_digits(indices[:, 0], self.places, self.levels))
        return torch.where(indices[:, 0, ..., None] >= 0, codes, 0).movedim(-1, 1)

    def indices_of(self, codes: Tensor) -> Tensor:
        """Indices (B, 1, *grid) of ``codes`` (B, C, *grid), the inverse of `codes`, in any float type."""
        codes = codes.movedim(1, -1).to(self.reach.dtype)
        return (self._digits(codes * self.width) * self.places).sum(-1).unsqueeze(1)


def _check_levels(levels: Sequence[int]) -> None:
    if not levels or any(not isinstance(n, int) or n < 2 for n in levels):
        raise BadSetting(f"the levels are {tuple(levels)}; give a whole number from 2 for every channel")
    if math.prod(levels) >= MOST_CODES:
        raise BadSetting(
            f"the levels {tuple(levels)} make {math.prod(levels)} codes; indices must be below 2^31, so "
            "take fewer channels or levels"
        )


def projection(wide: int, narrow: int) -> nn.Module:
    """A linear map from ``wide`` to ``narrow`` channels, or nothing where they are equal."""
    return nn.Identity() if wide == narrow else nn.Linear(wide, narrow)


def project_codes(project_out: nn.Module, codes: Tensor, indices: Tensor) -> Tensor:
    """Codes (B, C, *grid) through the map that leads out; zeros where ``indices`` (B, 1, *grid) are -1."""
    with torch.autocast(codes.device.type, enabled=False):
        codes = codes.movedim(1, -1)
        # As rows, the way the forward pass does it, so that both round alike.
        vectors = project_out(codes.reshape(-1, codes.shape[-1])).reshape(*codes.shape[:-1], -1)
    return torch.where(indices[:, 0, ..., None] >= 0, vectors, 0).movedim(-1, 1)


def places(levels: Sequence[int]) -> Tensor:
    """What each digit (C,) counts in the index: the product of the levels before it."""
    return torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])


def to_digits(indices: Tensor, places_C: Tensor, levels_C: Tensor) -> Tensor:
    """The digits (..., C) of ``indices`` (...)."""
    return torch.div(indices[..., None], places_C, rounding_mode="floor") % levels_C


@torch.no_grad()
def health(
    x_NC: Tensor,
    codes_NC: Tensor,
    indices_N: Tensor,
    valid_N: Tensor | None,
    codebook_size: int,
    *,
    training: bool,
) -> dict[str, Tensor]:
    """The stats of `Quantized` for one codebook: of all workers in ``training``, else this worker's own.

    ``stats["error"]`` is the mean of |x - code|^2 over the variance of x.
    """
    x_NC = x_NC.detach()
    usable_N = x_NC.isfinite().all(1)
    usable_N = usable_N if valid_N is None else usable_N & valid_N
    x_NC = torch.where(usable_N[:, None], x_NC, 0)
    weight_N = usable_N.to(x_NC.dtype)
    counts_K = x_NC.new_zeros(codebook_size).index_add_(0, indices_N, weight_N)
    figures = [weight_N.sum(), weight_N @ (x_NC - codes_NC).square().sum(1), x_NC.square().sum()]
    moments = torch.cat([torch.stack(figures), x_NC.sum(0)])
    if training and not in_backward():
        counts_K, moments = workers.total([counts_K, moments])
    return stats(counts_K[None], [moments], counts_K.new_zeros(()))
