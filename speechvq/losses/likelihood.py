"""Negative log likelihoods of autoregressive models, in nats per sample.

`categorical_nll` is for discrete targets (mu-law levels, codes). `logistics_nll` is the discretised
mixture of logistics (Salimans et al. 2017, PixelCNN++, equation 2) with exact edge bins and a form of
the logarithm that loses no digits, so that the masses of all bins sum to one for 256 and for 65536
levels alike. Both are computed in float32 or better under any autocast.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def categorical_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of each place.

    Args:
        logits: (B, Q, *grid).
        target: (B, *grid) int64 in [0, Q).

    Returns:
        (B, *grid) nats.
    """
    return F.cross_entropy(logits.float(), target, reduction="none")


def logistics_nll(parameters: Tensor, target: Tensor, *, levels: int, floor: float = -12.0) -> Tensor:
    """Discretised mixture of logistics.

    With d = 1 / (levels - 1), the mass of value x is the mixture's probability of (x - d, x + d); the
    lowest bin reaches down to minus infinity and the highest up to infinity.

    Args:
        parameters: (B, 3 M, L): M mixture logits, M means, M log scales.
        target: (B, L) values on the grid of ``levels`` steps from -1 to 1, best in float64 (float32
            rounds the 65536-level grid by up to half a hundredth of a bin).
        levels: values on the grid, Q.
        floor: least log scale.

    Returns:
        (B, L) nats, float32.
    """
    # Double precision: the distance of a target to a mean is divided by scales down to exp(floor).
    logits, means, log_scales = parameters.double().chunk(3, dim=1)
    scales = log_scales.clamp(min=floor).exp()
    half = 1 / (levels - 1)
    target = target.double()[:, None]
    upper, lower = (target + half - means) / scales, (target - half - means) / scales
    # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), and u - l is known exactly.
    below_upper, above_lower = F.logsigmoid(upper), F.logsigmoid(-lower)
    inside = below_upper + above_lower + torch.log(-torch.expm1(-2 * half / scales))
    lowest, highest = target < -1 + half, target > 1 - half
    mass = torch.where(lowest, below_upper, torch.where(highest, above_lower, inside))
    return -torch.logsumexp(logits.log_softmax(1) + mass, dim=1).float()


def sample_logistics(
    parameters: Tensor,
    component: Tensor,
    uniforms: Tensor,
    *,
    levels: int,
    floor: float = -12.0,
    temperature: float = 1.0,
) -> Tensor:
    """Draw a value from one component of each mixture by inverting its cumulative distribution.

    Args:
        parameters: (B, 3 M) as for `logistics_nll`.
        component: (B,) int64, the mixture component that was drawn.
        uniforms: (B,) in [0, 1).
        levels: values on the grid.
        floor: least log scale.
        temperature: multiplies the scale; 0 gives the mean.

    Returns:
        (B,) float64 on the grid of ``levels`` steps from -1 to 1.
    """
    _, means, log_scales = parameters.double().chunk(3, dim=1)
    mean = means.gather(1, component[:, None])[:, 0]
    scale = log_scales.gather(1, component[:, None])[:, 0].clamp(min=floor).exp()
    drawn = mean + temperature * scale * torch.logit(uniforms.to(mean), eps=1e-12)
    return grid_values(grid_levels(drawn, levels=levels), levels=levels)


def grid_levels(values: Tensor, *, levels: int) -> Tensor:
    """Nearest step of values in [-1, 1] (clamped), int64 in [0, levels)."""
    return ((values.double().clamp(-1, 1) + 1) / 2 * (levels - 1)).round().long()


def grid_values(steps: Tensor, *, levels: int) -> Tensor:
    """Steps in [0, levels) to float64 values in [-1, 1]."""
    return steps.double() / (levels - 1) * 2 - 1


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of ``values`` where ``mask`` (same shape) is True; zero when it is nowhere True."""
    if mask is None:
        return values.mean()
    # where, not a product: a masked place may hold anything, even NaN.
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
