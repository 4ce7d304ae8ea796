"""A decoder that says it cannot speak: for codecs that were imported, or built, for their codes alone."""

from typing import Any

from torch import Tensor

from speechvq.codec import DECODERS, Batch, Decoder, Reconstruction
from speechvq.errors import BadSetting


@DECODERS.register("mute")
class MuteDecoder(Decoder):
    """No weights and no voices; both ways of asking it for sound end in a sentence."""

    def __init__(self, *, dim: int = 64, hop: int = 320) -> None:
        """``dim`` and ``hop`` as the encoder has them."""
        super().__init__()
        self.dim, self.hop, self.speakers = dim, hop, ()

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Raise `BadSetting`: there is nothing to train."""
        raise BadSetting(
            "this codec has no decoder to train: give a model with one, and begin with the codec's "
            "encoder and codebook (init_from=FOLDER objective.freeze=[encoder,quantizer])"
        )

    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Raise `BadSetting`: there is nothing to speak with."""
        raise BadSetting("this codec gives codes but cannot speak: it has no decoder; import it with one")
