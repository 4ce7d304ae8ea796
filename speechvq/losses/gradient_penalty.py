"""R1: what keeps a critic from being steep around real pictures.

Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?" (2018), equation 9:

    R1 = gamma / 2 * mean |d score / d picture|^2

Taken "lazily" (Karras et al. 2020, section 4.2), every so many steps and then so many times as heavy.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def steepness(scores: Sequence[Tensor], real: Tensor) -> Tensor:
    """mean over the batch of |d sum of scores / d picture|^2, a scalar that the critic can minimise.

    Args:
        scores: each critic's, any shape, of ``real`` and of nothing else.
        real: (B, C, H, W), which requires a gradient.
    """
    total = torch.stack([_full(one).sum() for one in scores]).sum()
    (slope,) = torch.autograd.grad(total, real, create_graph=True)
    return _full(slope).square().sum(tuple(range(1, slope.dim()))).mean()


def _full(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
