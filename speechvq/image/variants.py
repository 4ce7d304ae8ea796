"""The VQGANs that were published, as configurations of a codec: sizes, codes, and how each was trained.

From the configurations of CompVis/taming-transformers (Esser, Rombach and Ommer 2021) and, for the two
that it does not hold, copies of them in microsoft/VQ-Diffusion. The released nearest codes were trained
with the commitment weighing 1 and the codebook 0.25 ("legacy" beta).
"""

from dataclasses import dataclass
from typing import Any

from speechvq.errors import UnknownName


@dataclass(frozen=True)
class Game:
    """The critic of patches that a variant was trained against."""

    layers: int = 3
    """Strided layers of the critic."""
    start_step: int = 250_001
    """First step at which the critic learns and is heard."""
    weight: float = 0.8
    """Of the adversarial loss, times the adaptive weight."""


@dataclass(frozen=True)
class Variant:
    """One published VQGAN."""

    size: str
    """Name of its widths."""
    codebook_size: int = 1024
    """Number of codes."""
    quantizer: str = "vector"
    """"vector" (nearest code) or "gumbel"."""
    kind: str = "picture"
    """"picture" or "segmentation"."""
    game: Game | None = None
    """Its critic; None where there was none, or its settings were not published."""

    def config(self, *, perceptual: dict[str, str] | None = None) -> dict[str, Any]:
        """What `Codec.build` takes; ``perceptual`` as `speechvq.losses.perceptual.Perceptual` has it."""
        quantizer: dict[str, Any] = {"name": self.quantizer, "codebook_size": self.codebook_size}
        if self.quantizer == "vector":
            quantizer |= {
                "learning": {"by": "gradient", "commitment": 1.0, "codebook": 0.25},
                "start": {"by": "uniform"},
                "revival": {"threshold": 0.0},
            }
        else:
            anneal = {"start": 0.9, "end": 1e-6, "steps": 1_000_001}
            quantizer |= {"anneal": anneal, "prior": 1e-8}
        loss: dict[str, Any] = {"kind": self.kind}
        if self.kind == "picture":
            loss["perceptual"] = perceptual or {"network": "lpips"}
        return networks(self.size, quantizer, loss)


def networks(size: str, quantizer: dict[str, Any], loss: dict[str, Any]) -> dict[str, Any]:
    """What `Codec.build` takes: VQGAN's networks of a size, around a quantizer."""
    return {
        "room": "image",
        "rate": 1,
        "encoder": {"name": "vqgan", "size": size},
        "quantizer": quantizer,
        "decoder": {"name": "vqgan", "size": size, "loss": loss},
    }


VARIANTS = {
    "imagenet-f16-1024": Variant("f16", game=Game()),
    "imagenet-f16-16384": Variant("f16", 16384, game=Game(2, 0, 0.75)),
    "imagenet-depth-f16": Variant("f16-depth", game=Game(3, 50_001, 0.75)),
    "faceshq-f16-1024": Variant("f16", game=Game(3, 30_001)),
    "custom-f16-1024": Variant("f16", game=Game(3, 10_000)),
    "coco-f16-8192": Variant("f16", 8192),
    "openimages-f8-gumbel": Variant("f8", 8192, "gumbel"),
    "coco-segmentation-f16": Variant("f16-coco", kind="segmentation"),
    "sflckr-segmentation-f16": Variant("f16-sflckr", kind="segmentation"),
    "ade-segmentation-f16": Variant("f16-ade", kind="segmentation"),
}


def variant(name: str) -> Variant:
    """The published VQGAN called ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in VARIANTS:
        raise UnknownName("published VQGAN", name, sorted(VARIANTS))
    return VARIANTS[name]
