"""The weight of an adversarial loss that keeps it in step with the reconstruction's.

Esser, Rombach and Ommer, "Taming Transformers" (2021), equation 7: the ratio of both losses' gradients
in the decoder's last layer W,

    lambda = |d reconstruction / d W| / (|d game / d W| + 1e-4), at most 10 000

(1e-6 in the paper, 1e-4 in its published code).
"""

import torch
from torch import Tensor

FLOOR, MOST = 1e-4, 1e4


def adaptive_weight(reconstruction: Tensor, game: Tensor, last: Tensor) -> Tensor:
    """lambda, a detached scalar in [0, 10 000]; both graphs can still be used afterwards.

    Args:
        reconstruction: the decoder's own loss, a scalar that depends on ``last``.
        game: its adversarial loss before any weight, a scalar that depends on ``last``.
        last: the weight of the decoder's last layer, any shape.

    Returns:
        lambda, 0 where nothing learns (gradients are off, or ``last`` is frozen).
    """
    if not (torch.is_grad_enabled() and last.requires_grad):
        return reconstruction.new_zeros(())
    own, of_game = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].float().norm()
        for loss in (reconstruction, game)
    )
    return (own / (of_game + FLOOR)).clamp(0, MOST).detach()
