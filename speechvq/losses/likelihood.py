"""Negative log likelihoods in nats, of discrete targets and of values on a grid of levels.

`categorical_nll` is for discrete targets (mu-law levels, codes). The others give a continuous density's
mass in each of the bins that divide the line between levels, the outermost bins being open, so that the
masses of all levels sum to one and the likelihood is that of the stored integers: `logistic_log_mass`
(Salimans et al. 2017, PixelCNN++, equation 2), its mixture `logistics_nll`, and `gaussian_log_mass`. The
logarithms are in a form that loses no digits, for 256 and for 65536 levels alike.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def categorical_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of each place, in float32 under any autocast.

    Args:
        logits: (B, Q, *grid).
        target: (B, *grid) int64 in [0, Q).

    Returns:
        (B, *grid) nats.
    """
    return F.cross_entropy(logits.float(), target, reduction="none")


def logistic_log_mass(target: Tensor, means: Tensor, log_scales: Tensor, *, levels: int) -> Tensor:
    """Logarithm of a logistic distribution's mass in the bin of each target.

    Args:
        target: values on the grid of ``levels`` steps from -1 to 1.
        means: of the distributions; the three tensors broadcast.
        log_scales: logarithms of their scales.
        levels: values on the grid, Q; a bin reaches 1 / (Q - 1) to either side.

    Returns:
        At most 0, of the tensors' precision and broadcast shape.
    """
    half = 1 / (levels - 1)
    scales = log_scales.exp()
    upper, lower = (target + half - means) / scales, (target - half - means) / scales
    # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), and u - l is known exactly.
    below_upper, above_lower = F.logsigmoid(upper), F.logsigmoid(-lower)
    inside = below_upper + above_lower + torch.log(-torch.expm1(-2 * half / scales))
    return _open_ends(target, half, below_upper, above_lower, inside)


def gaussian_log_mass(target: Tensor, means: Tensor, log_scales: Tensor, *, levels: int) -> Tensor:
    """Logarithm of a Gaussian's mass in the bin of each target, as `logistic_log_mass`.

    Args:
        target: values on the grid of ``levels`` steps from -1 to 1.
        means: of the distributions; the three tensors broadcast.
        log_scales: logarithms of their standard deviations.
        levels: values on the grid, Q.
    """
    half = 1 / (levels - 1)
    scales = log_scales.exp()
    upper, lower = (target + half - means) / scales, (target - half - means) / scales
    below_upper, above_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(-lower)
    # Above the mean both distribution functions are near one: there the difference is taken of what is
    # left above, which has the same form with the signs of both edges turned.
    above_upper, below_lower = torch.special.log_ndtr(-upper), torch.special.log_ndtr(lower)
    right = upper + lower > 0
    more, less = torch.where(right, above_lower, below_upper), torch.where(right, above_upper, below_lower)
    inside = more + torch.log(-torch.expm1(less - more))
    return _open_ends(target, half, below_upper, above_lower, inside)


def _open_ends(target: Tensor, half: float, low: Tensor, high: Tensor, inside: Tensor) -> Tensor:
    """The lowest bin reaches down to minus infinity, the highest up to infinity."""
    lowest, highest = target < -1 + half, target > 1 - half
    return torch.where(lowest, low, torch.where(highest, high, inside))


def logistics_nll(parameters: Tensor, target: Tensor, *, levels: int, floor: float = -12.0) -> Tensor:
    """Discretised mixture of logistics.

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
    mass = logistic_log_mass(target.double()[:, None], means, log_scales.clamp(min=floor), levels=levels)
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
