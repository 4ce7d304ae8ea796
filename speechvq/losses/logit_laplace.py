"""The logit-Laplace likelihood of pixels: a Laplace distribution of the logit of a value in (0, 1).

Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), appendix A.3. A pixel in [0, 1] is first squeezed
into [margin, 1 - margin], where the logit is finite; then, with mean mu and scale b of the logit,

    -log f(x) = log(2 b x (1 - x)) + |logit x - mu| / b
"""

import torch
from torch import Tensor

MARGIN = 0.1


def squeeze(pixels: Tensor, margin: float = MARGIN) -> Tensor:
    """[0, 1] to [margin, 1 - margin]."""
    return margin + (1 - 2 * margin) * pixels


def stretch(values: Tensor, margin: float = MARGIN) -> Tensor:
    """The reverse of `squeeze`."""
    return (values - margin) / (1 - 2 * margin)


def logit_laplace_nll(x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """-log f in nats, float32 (or float64) under any autocast; the tensors broadcast.

    Args:
        x: squeezed pixels, in (0, 1).
        means: mu, any number.
        log_scales: log b.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, means, log_scales = (t if t.dtype == torch.float64 else t.float() for t in (x, means, log_scales))
        away = (torch.logit(x) - means).abs() * torch.exp(-log_scales)
        return (2 * x * (1 - x)).log() + log_scales + away
