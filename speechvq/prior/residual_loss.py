"""What codes cost under a linear classifier, a share of them at a time.

Logits of 8 x 8 x 4 codes out of 16384 are 17 MB an example, their softmax and its gradient as much again.
Here a few hundred codes at a time are classified. As the weights of the mean are known beforehand, the
gradient is made along with the cost, so that nothing is computed twice or kept ("fused linear cross
entropy", Hsu et al. 2024).

Legend: M codes in the order (B, K, *grid), T of one share, E channels, Q codes in a codebook.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.prior.tokens import there
from speechvq.quantize.soft import SoftTargets

SCORES = {"cpu": 1 << 21}
"""Logits that are made at a time, by kind of device."""
SCORES_ELSEWHERE = 1 << 25

type Share = tuple[int, Tensor, Tensor]
"""A depth, which (T,) of the M codes, and what each ought to be: a code (T,), or chances (T, Q)."""


class Shares:
    """The codes that count, one share after the other."""

    def __init__(self, codes: Codes, soft: SoftTargets | None, codebook_size: int) -> None:
        """Of ``codes`` (B, K, *grid); where ``soft`` is given, it says what they ought to be."""
        self.codes, self.soft, self.size = codes.indices, soft, codebook_size
        self.valid = there(codes)
        if soft is not None and (soft.indices.shape, soft.codebook_size) != (self.codes.shape, self.size):
            raise BadSetting(
                f"the targets are of codes {tuple(soft.indices.shape)} out of {soft.codebook_size}, and the "
                f"codes {tuple(self.codes.shape)} out of {self.size}"
            )

    def __iter__(self) -> Iterator[Share]:
        """Shares; codes that do not count are among them."""
        if self.soft is not None:
            for depth, places_T, _, chances_TQ in self.soft.tiles():
                yield depth, places_T, chances_TQ
            return
        device, flat_M = self.codes.device, self.codes.flatten()
        places_M = torch.arange(len(flat_M), device=device).view(self.codes.shape)
        count = max(1, SCORES.get(device.type, SCORES_ELSEWHERE) // self.size)
        for depth, places in enumerate(places_M.movedim(1, 0).flatten(1)):
            for places_T in places.split(count):
                yield depth, places_T, flat_M[places_T].clamp(min=0)


def costs(hidden_ME: Tensor, layer: nn.Linear, shares: Shares) -> Tensor:
    """Nats of every code, (B, K, *grid), zero where none is.

    Args:
        hidden_ME: what each is to be told by.
        layer: the classifiers, E to Q, or E to K Q with one after the other.
        shares: the codes.
    """
    nats_M = hidden_ME.new_zeros(len(hidden_ME), dtype=torch.float32)
    for depth, places_T, aim in shares:
        log_TQ = _logits(hidden_ME[places_T], layer.weight, layer.bias, depth, shares.size)
        nats_M = nats_M.index_put((places_T,), _nats(log_TQ.log_softmax(1), aim))
    return nats_M.view(shares.codes.shape).masked_fill(~shares.valid, 0)


def mean_cost(hidden_ME: Tensor, layer: nn.Linear, shares: Shares) -> Tensor:
    """The mean of `costs` over the codes that count, a scalar; without ever all of the logits."""
    learns = torch.is_grad_enabled()
    return _MeanCost.apply(hidden_ME, layer.weight, layer.bias, shares, learns)  # type: ignore[return-value]


class _MeanCost(torch.autograd.Function):
    """The gradient, if any is wanted, is made in the forward pass and only scaled in the backward one."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ME: Tensor, weight: Tensor, bias: Tensor, shares: Shares, learns: bool
    ) -> Tensor:
        wanted = learns and any(ctx.needs_input_grad)
        part_M = shares.valid.flatten().float()
        part_M = part_M / part_M.sum().clamp(min=1)
        total = torch.zeros((), device=hidden_ME.device)
        slopes = [
            torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (hidden_ME, weight, bias)
        ]
        slope_ME, slope_weight, slope_bias = slopes
        for depth, places_T, aim in shares:
            own, own_TE, part_T = _book(depth, weight, shares.size), hidden_ME[places_T], part_M[places_T]
            log_TQ = _logits(own_TE, weight, bias, depth, shares.size).log_softmax(1)
            total += (_nats(log_TQ, aim) * part_T).sum()
            if not wanted:
                continue
            slope_TQ = log_TQ.exp_()
            if aim.dim() == 1:
                slope_TQ.scatter_add_(1, aim[:, None], -torch.ones_like(slope_TQ[:, :1]))
            else:
                slope_TQ -= aim
            slope_TQ *= part_T[:, None]
            slope_bias[own] += slope_TQ.sum(0).to(bias.dtype)
            slope_TQ = slope_TQ.to(own_TE.dtype)
            slope_ME[places_T] = (slope_TQ @ weight[own].to(own_TE.dtype)).to(slope_ME.dtype)
            _add_product(slope_weight[own], slope_TQ.T, own_TE)
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grads[0].to(slope.dtype) * slope for slope in ctx.saved_tensors), None, None)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == total.dtype and not torch.is_autocast_enabled(a.device.type):
        total.addmm_(a, b)  # a product of its own would be as large as all the weights
    else:
        total += a @ b


def _book(depth: int, weight: Tensor, size: int) -> slice:
    """The rows of the classifier of this depth."""
    return slice(0, size) if len(weight) == size else slice(depth * size, (depth + 1) * size)


def _logits(hidden_TE: Tensor, weight: Tensor, bias: Tensor, depth: int, size: int) -> Tensor:
    own = _book(depth, weight, size)
    return F.linear(hidden_TE, weight[own], bias[own]).float()


def _nats(log_TQ: Tensor, aim: Tensor) -> Tensor:
    """Cross entropy (T,) of log chances and a code each, or chances."""
    if aim.dim() == 1:
        return -log_TQ.gather(1, aim[:, None])[:, 0]
    return -(log_TQ * aim).sum(1)
