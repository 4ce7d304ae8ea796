"""What a decoder of pictures is trained to: the error of its pixels, and how different they look.

Mean absolute error in VQGAN (Esser, Rombach and Ommer 2021), mean squared error in RQ-VAE (Lee et al. 2022,
section 3.1); both add a perceptual distance. A decoder of segmentations learns by cross-entropy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.image.padding import sizes_of
from speechvq.losses.perceptual import Perceptual

KINDS = ("picture", "segmentation")
ERRORS = {"absolute": "picture/l1", "squared": "picture/mse"}
"""The errors of a pixel, and the name of each one's loss."""
LEAST = 16  # pixels a side that a perceptual distance needs


@dataclass(frozen=True)
class PictureLoss:
    """What the decoder is trained to, and the weights of it."""

    kind: str = "picture"
    """"picture", or "segmentation": the signal is one-hot over classes, the decoder says logits."""
    error: str = "absolute"
    """Of the pixels of pictures: "absolute" or "squared"."""
    pixels: float = 1.0
    """Weight of the mean error of pictures, or of the binary cross-entropy of segmentations."""
    features: float = 1.0
    """Weight of the perceptual distance of pictures."""
    perceptual: Perceptual = Perceptual()
    """Which perceptual distance."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadSetting(f"the decoder makes a 'picture' or a 'segmentation', not a {self.kind!r}")
        if self.error not in ERRORS:
            raise BadSetting(f"the error of a pixel is 'absolute' or 'squared', not {self.error!r}")
        if not (self.pixels >= 0 and self.features >= 0):
            raise BadSetting("the weights of pixels and features must be at least 0")

    def check(self, channels: int, size: Sequence[int]) -> None:
        """Raise now what the losses of pictures of so many ``channels`` and pixels would raise."""
        if self.kind == "picture" and self._perceives:
            self.perceptual.check(channels, size)

    @property
    def _perceives(self) -> bool:
        return self.perceptual.network != "none" and self.features > 0

    def __call__(self, made: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """The losses of what was ``made`` against the ``target``, both (B, C, H, W) in float32.

        Places where ``weight`` (B, 1, H, W) is 0 cost nothing. The names are "picture/l1" or "picture/mse"
        and "picture/perceptual", or "picture/bce" alone.
        """
        if self.kind == "segmentation":
            cost = F.binary_cross_entropy_with_logits(made, (target > 0).float(), reduction="none")
            return {"picture/bce": self.pixels * _mean(cost, weight)}
        difference = made - target
        error = difference.abs() if self.error == "absolute" else difference.square()
        losses = {ERRORS[self.error]: self.pixels * _mean(error, weight)}
        if self._perceives:
            losses["picture/perceptual"] = self.features * self._looks(made, target, weight)
        return losses

    def _looks(self, made: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The mean distance of the pictures, each seen without what is masked beside it.

        One with less than `LEAST` pixels a side is not looked at.
        """
        if bool(weight.all()):
            return self.perceptual(made, target)
        sizes = enumerate(sizes_of(weight[:, 0] > 0))
        parts = [(row, slice(h), slice(w)) for row, (h, w) in sizes if min(h, w) >= LEAST]
        each = [self.perceptual(made[i : i + 1, :, h, w], target[i : i + 1, :, h, w]) for i, h, w in parts]
        return torch.stack(each).mean() if each else made.new_zeros(())


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over channels, pictures and the places that ``weight`` (B, 1, H, W) counts."""
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp(min=1)
