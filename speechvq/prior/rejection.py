"""The best of many: what a prior has drawn, thinned out by a classifier.

"Generating Diverse High-Fidelity Images with VQ-VAE-2" (Razavi et al. 2019, section 3.3): of the pictures of
a class, those are kept of whose class a classifier, trained on real ones, is surest. Fewer kept is better
looking and less diverse.
"""

import torch
from torch import Tensor

from speechvq.errors import BadSetting


def best_of(made: Tensor, scores: Tensor, keep: int) -> Tensor:
    """The ``keep`` of the highest scores, best first; of equal ones those that came first.

    Args:
        made: (*groups, N, ...) pictures or codes; each group is thinned out by itself.
        scores: (*groups, N), such as the probability that a classifier gives to the class that was asked
            for; what is not a number is worse than anything.
        keep: of every N, from 1 to N.

    Returns:
        (*groups, keep, ...).

    Raises:
        BadSetting: not as many scores as things, or more to be kept than there are.
    """
    axis = scores.dim() - 1
    if axis < 0 or made.shape[: axis + 1] != scores.shape:
        raise BadSetting(f"scores {tuple(scores.shape)} do not belong to what is {tuple(made.shape)}")
    if not 1 <= keep <= scores.shape[-1]:
        raise BadSetting(
            f"the best {keep} of {scores.shape[-1]} cannot be kept; give 1 to {scores.shape[-1]}"
        )
    ordered = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).sort(dim=-1, descending=True, stable=True)
    places = ordered.indices[..., :keep].to(made.device)
    places = places.view(*places.shape, *[1] * (made.dim() - axis - 1))
    return made.take_along_dim(places.expand(*places.shape[: axis + 1], *made.shape[axis + 1 :]), dim=axis)
