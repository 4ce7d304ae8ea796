"""The draws of `speechvq.nets.sampling`, sooner where rows and categories are many.

What is drawn is the same, but where a uniform number, or what a nucleus is to hold, falls within rounding of
an edge. Categories as likely as the k-th are all kept; of those as likely as the last of a nucleus, the first
are, as many as it needs. On a GPU nothing waits for it.

Legend: R rows, Q categories.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from speechvq.nets.sampling import Sampling, sample

FEW = 4096
"""Logits of which no more are drawn from as in `speechvq.nets.sampling`."""
BLOCK = 128
"""Categories whose chances are summed up first when one is looked for among many."""


def draw(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor:
    """One category per row, (R,) int64.

    Args:
        logits: (R, Q) float32; minus infinity is never drawn, and may not be all of a row.
        sampling: temperature, top-k, top-p.
        uniforms: (R,) in [0, 1), float64.
    """
    if sampling.temperature == 0 or logits.numel() <= FEW:
        return sample(logits, sampling, uniforms)
    chances = logits - logits.amax(-1, keepdim=True)
    if sampling.temperature != 1:
        chances /= sampling.temperature
    chances = chances.exp_()
    if 0 < sampling.top_k < logits.shape[1]:
        chances = _at_least(_largest(chances, sampling.top_k), chances)
    if sampling.top_p < 1:
        chances = _nucleus(chances, sampling.top_p)
    return _passed(chances, uniforms[:, None])[:, 0]


def _at_least(edge: Tensor, chances: Tensor) -> Tensor:
    """The same chances but for a factor, zero where they are less than the row's ``edge`` (R, 1)."""
    # What is less is less than 1 after the division, and so at most the float before it.
    return torch.threshold_(chances / edge.clamp(min=1e-38), 1 - 2**-24, 0.0)


def _largest(chances: Tensor, count: int) -> Tensor:
    """The chance (R, 1) that the last of the ``count`` likeliest has."""
    if chances.is_cuda:
        return chances.topk(count, dim=-1).values[:, -1:]
    last = chances.shape[1] - count
    return torch.from_numpy(np.partition(chances.numpy(), last, axis=1)[:, last, None])


def _nucleus(chances: Tensor, top_p: float) -> Tensor:
    """As `_at_least`, of the smallest set of likeliest categories that holds ``top_p`` of the chances."""
    # A category belongs when those below it, and it, are more than what may be left out.
    rising = (
        chances.sort(-1).values if chances.is_cuda else torch.from_numpy(np.sort(chances.numpy(), axis=1))
    )
    first = _passed(rising, torch.full_like(rising[:, :1], 1 - top_p, dtype=torch.float64))
    edge, below = rising.gather(1, first), rising.gather(1, (first - 1).clamp(min=0))
    kept = _at_least(edge, chances)
    if chances.is_cuda or bool(((edge == below) & (first > 0)).any()):
        alike = chances == edge
        needed = chances.shape[1] - first - (chances > edge).sum(-1, keepdim=True)
        kept = kept.masked_fill_(alike & (alike.cumsum(-1) > needed), 0)
    return kept


def _passed(chances: Tensor, share: Tensor) -> Tensor:
    """Where the sum of a row's chances first is more than this ``share`` (R, 1) of all, (R, 1)."""
    # First the block of categories, then the category within.
    blocks = F.pad(chances, (0, -chances.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    cumulative = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    reached = share.clamp(0, 1 - 2**-40) * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, reached, right=True)
    before = torch.where(block > 0, cumulative.gather(1, (block - 1).clamp(min=0)), 0)
    within = blocks.gather(1, block[..., None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    # By rounding a block may seem to end before what is sought in it: then its last chance is meant.
    reached = torch.minimum(reached - before, within[:, -1:] * (1 - 2**-40))
    return block * BLOCK + torch.searchsorted(within, reached, right=True)
