"""After the vectors were quantized: losses, learning over all workers in one call, and health figures.

Perplexity is exp(-sum p log p) of how often each code was used in the batch; it depends on the size
of the batch, so ``stats["counts"]`` is there to add up over an epoch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.quantize import workers
from speechvq.quantize.codebook import Codebook, Statistics
from speechvq.quantize.gradient import in_backward
from speechvq.quantize.rows import Rows


@dataclass(frozen=True)
class Visit:
    """One search: rows (N, D) that were brought to a codebook, and the indices (N,) they got."""

    codebook: Codebook
    x: Tensor
    indices: Tensor


def squared_error(difference_ND: Tensor, valid_N: Tensor | None, scaling: str) -> Tensor:
    """Squared ``difference_ND`` averaged over the valid vectors and, for "mean", over the channels."""
    N, D = difference_ND.shape
    squares_N = difference_ND.square().sum(1)
    if valid_N is None:
        count = max(N, 1)
    else:
        squares_N = torch.where(valid_N, squares_N, 0)
        count = valid_N.sum().clamp(min=1)
    return squares_N.sum() / (count * (D if scaling == "mean" else 1))


def follow(visits: list[Visit], quantized_ND: Tensor, rows: Rows, *, training: bool) -> dict[str, Tensor]:
    """Let the visited codebooks learn, if ``training``, and return the stats of `Quantized`.

    The statistics of all visits and workers are summed in one call. A codebook that was visited
    several times (a shared one) learns once, from all its visits. Out of training the figures are
    this worker's own, since workers may evaluate different numbers of batches.
    """
    with torch.no_grad():
        spread = _spread(visits[0].codebook.vectors, rows, quantized_ND)
        if not training:
            counts_VK = torch.stack([_count(v, rows.valid) for v in visits])
            return _stats(counts_VK, spread, counts_VK.new_zeros(()))
        groups = _by_codebook(visits)
        seen = [
            [
                codebook.statistics(v.x, v.indices, rows.valid, visit=i, visits=len(group))
                for i, v in enumerate(group)
            ]
            for codebook, group in groups
        ]
        counts_VK = torch.stack([one.counts for own in seen for one in own])
        pooled = [sum(own[1:], start=own[0]) for own in seen]
        revived = counts_VK.new_zeros(())
        if not in_backward():
            parts = [part for one in pooled for part in one.parts()]
            counts_VK, spread, *parts = workers.total([counts_VK, spread, *parts])
            for i, (codebook, _) in enumerate(groups):
                revived = revived + codebook.learn(Statistics(*parts[4 * i : 4 * i + 4]))
        return _stats(counts_VK, spread, revived)


def _by_codebook(visits: list[Visit]) -> list[tuple[Codebook, list[Visit]]]:
    """The visits of each codebook; visits of one codebook follow each other."""
    groups: list[tuple[Codebook, list[Visit]]] = []
    for visit in visits:
        if groups and groups[-1][0] is visit.codebook:
            groups[-1][1].append(visit)
        else:
            groups.append((visit.codebook, [visit]))
    return groups


def _count(visit: Visit, valid_N: Tensor | None) -> Tensor:
    """How often each code was chosen (K,)."""
    counts_K = visit.x.new_zeros(len(visit.codebook.vectors))
    ones_N = torch.ones_like(visit.x[:, 0]) if valid_N is None else valid_N.to(counts_K.dtype)
    return counts_K.index_add_(0, visit.indices, ones_N)


def _spread(vectors_KD: Tensor, rows: Rows, quantized_ND: Tensor) -> Tensor:
    """Sums that make the error over the variance: count, squared error, squares, then the vectors' sum.

    Taken from the codes' mean, which all workers share, so that a large offset does not cancel.
    """
    x_ND = rows.x.detach()
    error_N = (x_ND - quantized_ND).square().sum(1)
    centred_ND = x_ND - vectors_KD.mean(0)
    if rows.valid is None:
        count = x_ND.new_full((), len(x_ND))
    else:
        count = rows.valid.sum().to(x_ND.dtype)
        error_N = torch.where(rows.valid, error_N, 0)
        centred_ND = torch.where(rows.valid[:, None], centred_ND, 0)
    figures = torch.stack([count, error_N.sum(), centred_ND.square().sum()])
    return torch.cat([figures, centred_ND.sum(0)])


def _stats(counts_VK: Tensor, spread: Tensor, revived: Tensor) -> dict[str, Tensor]:
    """The figures of `Quantized`, plus "counts" (number of codebooks, codebook_size)."""
    share_VK = counts_VK / counts_VK.sum(1, keepdim=True).clamp(min=1)
    entropy_V = -(share_VK * (share_VK + 1e-10).log()).sum(1)
    variance = spread[2] - spread[3:].square().sum() / spread[0].clamp(min=1)
    return {
        "perplexity": entropy_V.exp().mean(),
        "usage": (counts_VK > 0).to(counts_VK.dtype).mean(),
        "error": torch.where(variance > 0, spread[1] / variance, 0),
        "revived": revived,
        "counts": counts_VK,
    }
