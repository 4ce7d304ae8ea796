"""Units that last: the encoder's vectors of two views of a recording, told apart by when they are.

An encoder that changes its input at random while training (``warp`` of the mel encoder) gives another view
at every pass. What both views share, at one moment more than at others, is what was said.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting
from speechvq.losses.contrastive import neighbour_contrast
from speechvq.table import settings


@dataclass(frozen=True)
class Contrast:
    """The contrast of neighbours as a part of a codec's loss."""

    weight: float = 1.0
    """Of the loss; 0: there is none."""
    near: float = 0.02
    """Seconds within which vectors should be alike."""
    far: float = 0.06
    """Seconds from which on they should not."""
    temperature: float = 0.2
    """The lower, the more the most similar of the others count."""

    def __post_init__(self) -> None:
        if self.weight < 0 or not 0 <= self.near < self.far or not self.temperature > 0:
            raise BadSetting(
                f"the contrast's weight ({self.weight}) must be at least 0, its temperature "
                f"({self.temperature}) above 0, and far ({self.far} s) more than near ({self.near} s)"
            )

    def __call__(self, codec: Codec, batch: Batch, latents: Tensor) -> Tensor:
        """The weighted loss of ``latents`` (B, D, T) against those of another pass over ``batch``.

        Outside of training there are no random views, and the vectors are compared with themselves.
        """
        other = codec.encoder(batch.signal, batch.mask) if codec.training else latents
        mask = None if batch.mask is None else codec.encoder.code_mask(batch.mask)
        near = int(self.near * codec.frame_rate + 1e-6)
        far = max(near + 1, round(self.far * codec.frame_rate))
        loss = neighbour_contrast(latents, other, mask, near=near, far=far, temperature=self.temperature)
        return self.weight * loss


def contrast_of(values: Mapping[str, object] | None) -> Contrast | None:
    """The contrast that plain ``values`` describe; None when they are None or its weight is 0."""
    made = settings(Contrast, values, "the contrast") if values is not None else None
    return made if made and made.weight else None
