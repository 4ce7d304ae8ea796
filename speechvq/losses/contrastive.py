"""Contrast of neighbours in time: what stays for a few hundredths of a second is told from what does not.

Two views of a recording (the same speech through two random vocal tracts, say) become vectors. Those of
nearly the same moment should be alike, those of other moments of the same recording not. The recording's
own voice, room and loudness are in all of them and tell nothing; what is left changes as phones do.
After noise-contrastive prediction (van den Oord et al. 2018, equation 4) with negatives of the same
speaker only (van Niekerk et al. 2020, section 2.2), without a model that predicts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.errors import BadSetting


def neighbour_contrast(
    view_BDT: Tensor,
    other_BDT: Tensor,
    mask_BT: Tensor | None = None,
    *,
    near: int = 1,
    far: int = 3,
    temperature: float = 0.2,
) -> Tensor:
    """Mean over pairs (t, s), |t - s| <= near, of -log(e^(a_t b_s) / (e^(a_t b_s) + sum_r e^(a_t b_r))).

    The sum is over the same item's valid places r with |t - r| >= far; a and b are of length
    1 / sqrt(temperature). A place without a single r gives nothing.

    Args:
        view_BDT: the vectors a.
        other_BDT: the vectors b, of another view of the same recordings; gradients reach both.
        mask_BT: True where valid.
        near: vectors further apart than this are not asked to be alike.
        far: vectors nearer than this are not asked to be different.
        temperature: the lower, the more the most similar of the others count.

    Returns:
        A scalar in float32, whatever the autocast; 0 when there is no pair.

    Raises:
        BadSetting: not 0 <= near < far, or the temperature is not above 0.
    """
    if not 0 <= near < far or not temperature > 0:
        raise BadSetting(
            f"neighbours are at most near = {near} apart and others at least far = {far}, which must be "
            f"more; the temperature {temperature} must be above 0"
        )
    with torch.autocast(view_BDT.device.type, enabled=False):
        a, b = F.normalize(view_BDT.float(), dim=1), F.normalize(other_BDT.float(), dim=1)
        score_BTS = torch.einsum("bdt,bds->bts", a, b) / temperature
        place_T = torch.arange(score_BTS.shape[1], device=score_BTS.device)
        apart_TS = (place_T[:, None] - place_T).abs()
        valid_BT = place_T.new_ones(score_BTS.shape[:2], dtype=torch.bool) if mask_BT is None else mask_BT
        other_BTS = (apart_TS >= far) & valid_BT[:, None]
        others_BT1 = score_BTS.masked_fill(~other_BTS, -torch.inf).logsumexp(2, keepdim=True)
        pair_BTS = (apart_TS <= near) & valid_BT[:, None] & valid_BT[:, :, None] & other_BTS.any(2)[..., None]
        cost_BTS = F.softplus(others_BT1 - score_BTS)
        return torch.where(pair_BTS, cost_BTS, 0.0).sum() / pair_BTS.sum().clamp(min=1)
