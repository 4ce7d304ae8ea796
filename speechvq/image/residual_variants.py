"""The RQ-VAEs that were published, as configurations of a codec: sizes, codes, and how each was trained.

Lee et al., "Autoregressive Image Generation using Residual Quantization" (2022) and the configurations of
kakaobrain/rq-vae-transformer. All make 8 x 8 stacks of 4 codes of a picture of 256 pixels, out of one
codebook, from the squared error, LPIPS and a critic of patches with the adaptive weight.
"""

from dataclasses import dataclass
from typing import Any

from speechvq.errors import UnknownName
from speechvq.image.variants import Game, networks


@dataclass(frozen=True)
class Schedule:
    """How a variant was trained: by Adam at a constant rate after the warm-up, its critic likewise."""

    epochs: int
    """Passes over the pictures."""
    warmup: float = 0.0
    """Epochs of a rising rate."""
    batch_size: int = 128
    """Pictures a step, of all devices together."""
    lr: float = 4e-5
    """Learning rate."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Of Adam."""


@dataclass(frozen=True)
class ResidualVariant:
    """One published RQ-VAE."""

    schedule: Schedule
    """How it was trained."""
    size: str = "f32"
    """Name of its widths."""
    codebook_size: int = 16384
    """Number of codes."""
    num_codebooks: int = 4
    """Codes a place, all of one codebook."""
    decay: float = 0.99
    """Of the codebook's moving averages."""
    commitment: float = 0.25
    """Weight of the commitment, the mean over depths, places and channels."""
    game: Game = Game(layers=2, start_step=0, weight=0.75)
    """Its critic."""

    def config(
        self, *, perceptual: dict[str, str] | None = None, order: str = "pooled", start: str = "data"
    ) -> dict[str, Any]:
        """What `Codec.build` takes.

        Args:
            perceptual: as `speechvq.losses.perceptual.Perceptual` has it.
            order: "by-depth" learns as the published code does, see `speechvq.quantize.by_depth`.
            start: where codes begin. The published ones begin at random ("normal"), and are in effect
                begun anew on the first batch.
        """
        quantizer = {
            "name": "residual",
            "codebook_size": self.codebook_size,
            "num_codebooks": self.num_codebooks,
            "shared": True,
            "learning": {"by": "ema", "decay": self.decay, "commitment": self.commitment},
            "start": {"by": start},
        }
        if order != "pooled":
            quantizer["order"] = order
        loss = {"error": "squared", "perceptual": perceptual or {"network": "lpips"}}
        return networks(self.size, quantizer, loss)


IMAGENET = ResidualVariant(Schedule(epochs=10, warmup=0.5))
LSUN = ResidualVariant(Schedule(epochs=1))
"""Trained on from that of ImageNet."""
RESIDUAL_VARIANTS = {
    "imagenet-rqvae": IMAGENET,
    "lsun-church-rqvae": LSUN,
    "lsun-bedroom-rqvae": LSUN,
    "lsun-cat-rqvae": LSUN,
    "ffhq-rqvae": ResidualVariant(Schedule(epochs=150, warmup=5), "f32-ffhq", 2048),
    "cc3m-rqvae": IMAGENET,
}
"""By name; that of CC-3M is ImageNet's own."""


def residual_variant(name: str) -> ResidualVariant:
    """The published RQ-VAE called ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in RESIDUAL_VARIANTS:
        raise UnknownName("published RQ-VAE", name, sorted(RESIDUAL_VARIANTS))
    return RESIDUAL_VARIANTS[name]
