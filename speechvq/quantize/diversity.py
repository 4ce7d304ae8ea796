"""Losses that spread the use of codes and the codes themselves.

Entropy (Jansen et al. 2020; Yu et al. 2023, equation 5): mean over vectors of H(p) minus gamma times
H(mean p), with p = softmax(-|x - c|^2 / temperature). Orthogonality (Shin et al. 2021): the mean squared
cosine between different codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from speechvq.errors import BadSetting
from speechvq.kernels.plain import tiles
from speechvq.quantize import workers
from speechvq.quantize.codebook import Learning


@dataclass(frozen=True)
class Diversity:
    """Weights of the losses that spread codes; none by default."""

    entropy: float = 0.0
    """Weight of the entropy loss."""
    gamma: float = 1.0
    """How much using all codes counts against being sure of each."""
    temperature: float = 1.0
    """Of the softmax in the entropy loss, in squared distance."""
    orthogonal: float = 0.0
    """Weight of the orthogonal loss; for codes that learn by gradient."""

    def __post_init__(self) -> None:
        if self.entropy < 0 or self.orthogonal < 0 or self.gamma < 0:
            raise BadSetting(
                f"the diversity's entropy is {self.entropy}, its gamma {self.gamma} and its orthogonal "
                f"{self.orthogonal}; none may be below 0"
            )
        if not self.temperature > 0:
            raise BadSetting(f"the diversity's temperature is {self.temperature}; it must be above 0")

    def check(self, learning: Learning) -> None:
        """The orthogonal loss needs codes that take a gradient.

        Raises:
            BadSetting: they do not.
        """
        if self.orthogonal and learning.by != "gradient":
            raise BadSetting(
                f"codes that learn by {learning.by!r} cannot be made orthogonal: set learning.by"
            )

    def losses(
        self, y_ND: Tensor, codes_KD: Tensor, valid_N: Tensor | None, *, training: bool
    ) -> dict[str, Tensor]:
        """The weighted losses that are asked for, of rows ``y_ND`` against ``codes_KD``."""
        losses = {}
        if self.entropy:
            sure, spread = entropies(y_ND, codes_KD, valid_N, temperature=self.temperature, training=training)
            losses["entropy"] = self.entropy * (sure - self.gamma * spread)
        if self.orthogonal:
            losses["orthogonal"] = self.orthogonal * orthogonality(codes_KD)
        return losses


def entropies(
    y_ND: Tensor, codes_KD: Tensor, valid_N: Tensor | None, *, temperature: float, training: bool
) -> tuple[Tensor, Tensor]:
    """(mean over vectors of H(p), H(mean over vectors of p)) in nats; in training over all workers.

    Nothing of size N x K is kept for the backward pass: every tile is computed again there.
    """
    # A copy, because codes that follow by averages are about to be written to.
    codes_KD = codes_KD.clone()
    valid_N = y_ND.new_ones(len(y_ND), dtype=torch.bool) if valid_N is None else valid_N
    sure, share_K = y_ND.new_zeros(()), y_ND.new_zeros(len(codes_KD))
    for part in tiles(y_ND, len(codes_KD), None):
        own, use_K = checkpoint(  # type: ignore[misc]
            _tile_entropy, y_ND[part], codes_KD, valid_N[part], temperature, use_reentrant=False
        )
        sure, share_K = sure + own, share_K + use_K
    count = valid_N.sum()
    mean_K = share_K / count.clamp(min=1)
    if training:
        mean_K = workers.mean_over(mean_K, count)
    # A floor under the logarithm: the slope of p log p at zero is infinite.
    return sure / count.clamp(min=1), -(mean_K * mean_K.clamp(min=1e-12).log()).sum()


def _tile_entropy(
    y_TD: Tensor, codes_KD: Tensor, valid_T: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Sums over the tile of H(p) and of p (K,)."""
    logits_TK = (2 * y_TD @ codes_KD.T - codes_KD.square().sum(1)) / temperature
    log_TK = logits_TK.log_softmax(1)
    p_TK = torch.where(valid_T[:, None], log_TK.exp(), 0)
    return -(p_TK * log_TK).sum(), p_TK.sum(0)


def orthogonality(codes_KD: Tensor) -> Tensor:
    """Mean over pairs of the squared cosine, less the 1 / K that each code has with itself; from 0.

    The sum over K x K pairs is the squared norm of the D x D product, which is what is computed.
    """
    unit_KD = F.normalize(codes_KD)
    K = len(unit_KD)
    return (unit_KD.T @ unit_KD).square().sum() / K**2 - 1 / K
