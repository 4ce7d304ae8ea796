"""The draws of `speechvq.nets.sampling`, sooner where many categories are drawn from on a CPU.

What is drawn is the same, but where a uniform number, or what a nucleus is to hold, falls within rounding of
an edge. Categories as likely as the k-th are all kept; of those as likely as the last of a nucleus, the first
are, as many as it needs. Sums are in single precision, and NumPy's sorting and partitioning use all of the
processor's lanes.

Legend: R rows, Q categories.
"""

import numpy as np
import torch
from torch import Tensor

from speechvq.nets.sampling import Sampling, sample

FEW = 1024
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
    if logits.device.type != "cpu" or sampling.temperature == 0 or logits.numel() <= FEW:
        return sample(logits, sampling, uniforms)
    given_RQ = logits.detach().numpy()
    chances_RQ = given_RQ - given_RQ.max(1, keepdims=True)
    if sampling.temperature != 1:
        chances_RQ /= np.float32(sampling.temperature)
    np.exp(chances_RQ, out=chances_RQ)
    likeliest = chances_RQ
    if 0 < sampling.top_k < logits.shape[1]:
        likeliest = _top(chances_RQ, sampling.top_k)
    if sampling.top_p < 1:
        _nucleus(chances_RQ, np.sort(likeliest, axis=1), sampling.top_p)
    return torch.from_numpy(_passed(chances_RQ, uniforms.numpy()))


def _top(chances_RQ: np.ndarray, count: int) -> np.ndarray:
    """Set all but the ``count`` likeliest to zero; what is left, for sorting."""
    last = chances_RQ.shape[1] - count
    parted_RQ = np.partition(chances_RQ, last, axis=1)
    edge_R1 = parted_RQ[:, last : last + 1]
    chances_RQ *= chances_RQ >= edge_R1
    more = (parted_RQ[:, :last].max(1, keepdims=True) == edge_R1).any()
    return chances_RQ if more else parted_RQ[:, last:]


def _nucleus(chances_RQ: np.ndarray, rising: np.ndarray, top_p: float) -> None:
    """Set to zero all but the likeliest that hold ``top_p`` of the chances; ``rising`` are these, sorted."""
    # A category belongs when those below it, and it, are more than what may be left out.
    first_R1 = _passed(rising, np.full(len(rising), 1 - top_p))[:, None]
    edge_R1 = np.take_along_axis(rising, first_R1, 1)
    below_R1 = np.take_along_axis(rising, np.maximum(first_R1 - 1, 0), 1)
    kept_RQ = chances_RQ >= edge_R1
    if ((edge_R1 == below_R1) & (first_R1 > 0)).any():
        alike_RQ = chances_RQ == edge_R1
        needed_R1 = rising.shape[1] - first_R1 - (chances_RQ > edge_R1).sum(1, keepdims=True)
        kept_RQ &= ~(alike_RQ & (alike_RQ.cumsum(1) > needed_R1))
    chances_RQ *= kept_RQ


def _passed(chances_RQ: np.ndarray, share_R: np.ndarray) -> np.ndarray:
    """Where the sum of a row's chances first is above this share of all, (R,) int64."""
    # First the block of categories, then the category within.
    if odd := -chances_RQ.shape[1] % BLOCK:
        filled = np.zeros((len(chances_RQ), chances_RQ.shape[1] + odd), dtype=np.float32)
        filled[:, : chances_RQ.shape[1]] = chances_RQ
        chances_RQ = filled
    blocks = chances_RQ.reshape(len(chances_RQ), -1, BLOCK)
    sums, rows = blocks.sum(2), np.arange(len(blocks))
    upto = sums.cumsum(1, dtype=np.float64)
    wanted_R = np.minimum(share_R, 1 - 2**-40) * upto[:, -1]
    block_R = (upto <= wanted_R[:, None]).sum(1)
    within = blocks[rows, block_R].cumsum(1, dtype=np.float64)
    # By rounding what is sought may seem to lie outside its block: its first or last chance is meant.
    left_R = (wanted_R - (upto - sums)[rows, block_R]).clip(0, within[:, -1] * (1 - 2**-40))
    return block_R * BLOCK + (within <= left_R[:, None]).sum(1)
