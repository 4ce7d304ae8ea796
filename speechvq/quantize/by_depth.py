"""A residual stack whose codebooks learn while they are walked, as in the published code of RQ-VAE.

Lee et al. (2022), kakaobrain/rq-vae-transformer; here to be compared with, not to be trained with. In
training, at each depth: search the codes W, update the moving averages, begin every code anew whose average
count is below 1 (on a vector drawn from what this very depth was brought, its count set to 1), look up in W,
and only then take the codes from the averages. Where depths share a codebook, the next one searches the new
codes, and the averages decay once a depth.

So the residuals of a batch become codes that the same batch then matches. And a count of 1 says nothing of a
code's fair share: with 64 vectors and 256 codes about four codes in five are begun anew at every depth, and
the error in training is many times below that in evaluation. The default of `ResidualQuantizer` (codebooks
that stand still, one update from all depths, a threshold relative to the fair share) has neither fault.

Parity has a limit. The rule makes codes that are copies of each other: but for the noise (0.01 / sqrt(D) at
most a channel) where codes outnumber vectors; in a shared codebook but for rounding, for rows that take the
same code and at the next depth each its own copy leave the same. Which copy a row takes is then decided by
the last bits of a distance; whether a copy is begun anew follows from it, and so does all that comes after.
Given the same choices, and torch's random numbers, float32 agrees with the published code to about 1e-5; in
float64 the choices agree too, but between codes that are equal.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from speechvq.kernels.plain import Walk
from speechvq.quantize import workers
from speechvq.quantize.codebook import Codebook
from speechvq.quantize.nearest import walk
from speechvq.quantize.stack import Walked, crossed

LEAST = 1.0
"""Average count below which a code is begun anew, whatever the batch and the codebook."""


def begin_published(codebooks: Sequence[Codebook]) -> None:
    """Average counts start at 0, though the averages of the vectors start at the codes."""
    for codebook in codebooks:
        codebook.counts.zero_()


def walk_by_depth(
    y_ND: Tensor,
    codebooks: Sequence[Codebook],
    *,
    visits: int,
    depths_N: Tensor | None,
    temperature: float = 0.0,
) -> tuple[Walked, Tensor]:
    """As `speechvq.quantize.stack.walk_stack` in training, and how many codes were begun anew at all depths.

    The codebooks have learned when it returns. Counts and moments are those of all workers.
    """
    left_ND, parts, revived = y_ND.detach(), [], y_ND.new_zeros(())
    for v in range(visits):
        codebook = codebooks[v if len(codebooks) > 1 else 0]
        walks_N = None if depths_N is None else (depths_N > v).to(depths_N.dtype)
        old_KD = codebook.codes().detach().clone()
        part = walk(left_ND, [old_KD], depths_N=walks_N, sums=True, temperature=temperature)
        counts_K, sums_KD = workers.total([part.counts[0], part.sums[0]])
        parts.append(part._replace(counts=counts_K[None]))
        revived = revived + _learn(codebook, counts_K, sums_KD, _seen(left_ND, walks_N))
        left_ND = left_ND - part.total
    found = _whole(y_ND.detach(), parts, depths_N)
    return crossed(y_ND, [], found, codebooks[0].learning, depths_N=depths_N), revived


@torch.no_grad()
def _learn(codebook: Codebook, counts_K: Tensor, sums_KD: Tensor, brought_ND: Tensor) -> Tensor:
    """One depth's update; how many codes it began anew."""
    brought_ND = workers.gather(brought_ND)
    if not len(brought_ND):
        return counts_K.new_zeros(())  # counts that are still 0 would make no codes
    codebook.learn(counts_K, sums_KD)
    if not codebook.revives:
        return counts_K.new_zeros(())
    dead_K = codebook.counts < LEAST
    drawn_KD = _draw(brought_ND, len(counts_K))
    workers.copy_from_first([drawn_KD])
    codebook.revive(dead_K, drawn_KD)
    # Nothing more was seen: this only takes the codes from the averages once more.
    codebook.learn(torch.zeros_like(counts_K), torch.zeros_like(sums_KD))
    return dead_K.sum().to(counts_K.dtype)


def _draw(x_ND: Tensor, count: int) -> Tensor:
    """``count`` rows at random without repeats; of too few, copies with noise that only ever adds."""
    if len(x_ND) < count:
        x_ND = x_ND.repeat(-(-count // len(x_ND)), 1)
        x_ND = x_ND + torch.rand_like(x_ND) * (0.01 / math.sqrt(x_ND.shape[1]))
    return x_ND[torch.randperm(len(x_ND), device=x_ND.device)[:count]]


def _seen(left_ND: Tensor, walks_N: Tensor | None) -> Tensor:
    """The finite rows that walk this depth."""
    usable_N = left_ND.isfinite().all(1)
    return left_ND[usable_N if walks_N is None else usable_N & (walks_N > 0)]


def _whole(y_ND: Tensor, parts: list[Walk], depths_N: Tensor | None) -> Walk:
    """The walks of the single depths as one."""
    total_ND = torch.stack([part.total for part in parts]).sum(0)
    counted_N = y_ND.isfinite().all(1)
    counted_N = counted_N if depths_N is None else counted_N & (depths_N > 0)
    error_ND, own_ND = (torch.where(counted_N[:, None], x, 0) for x in (y_ND - total_ND, y_ND))
    sizes = [counted_N.sum().to(y_ND.dtype), error_ND.square().sum(), own_ND.square().sum()]
    (moments,) = workers.total([torch.cat([torch.stack(sizes), own_ND.sum(0)])])
    return Walk(
        indices=torch.cat([part.indices for part in parts]),
        total=total_ND,
        pull=torch.stack([part.pull for part in parts]).sum(0),
        counts=torch.cat([part.counts for part in parts]),
        sums=y_ND.new_zeros(0),
        errors=torch.cat([part.errors for part in parts]),
        moments=moments,
    )
