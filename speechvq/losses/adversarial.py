"""Adversarial losses over the maps of several critics, and feature matching.

Hinge: Lim and Ye, "Geometric GAN" (2017). Least squares: Mao et al. (2017), with the targets 1 and 0 of
Kong et al., "HiFi-GAN" (2020), equations 1 and 2. Feature matching: the same, equation 4. "vanilla": the
critic's cross-entropy (Goodfellow et al. 2014), with the maker's loss of the hinge, as in the code of Esser,
Rombach and Ommer (2021). Their critic's losses are halved; here both halves are added, and an optimiser
that ignores the scale of a gradient, such as Adam, makes no difference of it. "logistic": the same of the
critic, with the non-saturating loss of Goodfellow et al. for the maker, as in StyleGAN2.

The paper sums over its critics; here every loss is divided by their number, so that a weight means
the same with two critics as with eight. Masks are float maps (B, 1, h, w) or None, brought to the
size of what they cover by nearest neighbours; all sums run in float32.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.errors import UnknownName

type Masks = Sequence[Tensor | None]

# By kind: what a map of scores costs the critic when real, when made, and the maker when made.
_COSTS: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "hinge": (lambda s: F.relu(1 - s), lambda s: F.relu(1 + s), lambda s: -s),
    "vanilla": (lambda s: F.softplus(-s), F.softplus, lambda s: -s),
    "logistic": (lambda s: F.softplus(-s), F.softplus, lambda s: F.softplus(-s)),
    "squares": (lambda s: (1 - s).square(), lambda s: s.square(), lambda s: (1 - s).square()),
}
KINDS = tuple(_COSTS)


def critic_loss(
    real: Sequence[Tensor], made: Sequence[Tensor], masks: Masks, *, kind: str = "hinge"
) -> Tensor:
    """What the critics minimise: a scalar; 0 when every real and every made place is told with margin.

    Args:
        real: each critic's scores (B, 1, h, w) of recordings.
        made: the same of what the decoder made (detached from it).
        masks: each critic's mask.
        kind: "hinge", "squares", "vanilla" or "logistic".
    """
    if_real, if_made, _ = _costs(kind)
    parts = [
        masked_mean(if_real(r.float()), m) + masked_mean(if_made(f.float()), m)
        for r, f, m in zip(real, made, masks, strict=True)
    ]
    return torch.stack(parts).mean()


def maker_loss(made: Sequence[Tensor], masks: Masks, *, kind: str = "hinge") -> Tensor:
    """What the decoder minimises: a scalar, low when its sound is taken for real."""
    _, _, cost = _costs(kind)
    return torch.stack([masked_mean(cost(f.float()), m) for f, m in zip(made, masks, strict=True)]).mean()


def feature_matching(
    real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]], masks: Masks
) -> Tensor:
    """Mean absolute difference of inner maps (B, C, h, w), summed over layers: a scalar, 0 when equal."""
    parts = [
        masked_mean((a.float().detach() - b.float()).abs(), mask)
        for judged_real, judged_made, mask in zip(real, made, masks, strict=True)
        for a, b in zip(judged_real, judged_made, strict=True)
    ]
    return torch.stack(parts).sum() / len(masks)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``values`` (B, C, h, w) where ``mask`` (B, 1, any, any) is 1; 0 when that is nowhere."""
    if mask is None:
        return values.mean()
    weight = F.interpolate(mask, size=values.shape[-2:], mode="nearest").expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _costs(kind: str) -> tuple[Callable[[Tensor], Tensor], ...]:
    if kind not in _COSTS:
        raise UnknownName("adversarial loss", kind, sorted(_COSTS))
    return _COSTS[kind]
