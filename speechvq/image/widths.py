"""The widths and depths of VQGAN's networks: those that were published, and small ones.

The published ones are of the configurations of CompVis/taming-transformers and, with more levels or
wider ones, of kakaobrain/rq-vae-transformer ("f32", "f32-ffhq", "f8-rq"). For pictures of 64 pixels or a
little more there are "tiny" (0.9 million weights, hop 4), "tiny-f8" (1.2 million, hop 8) and "small" (3
million, hop 8), which a CPU can train, and "base" and "base-f4" (13 and 12 million, hop 8 and 4).
"""

from dataclasses import dataclass, replace

from speechvq.errors import BadSetting
from speechvq.table import preset


@dataclass(frozen=True)
class Widths:
    """What encoder and decoder have in common."""

    channels: int = 128
    """Channels at full resolution, a multiple of 32."""
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of each level over ``channels``; each level but the last halves the picture."""
    blocks: int = 2
    """Residual blocks a level in the encoder; the decoder has one more."""
    attention: tuple[int, ...] = (16,)
    """Levels that attend, by their pixels a side when the picture has ``resolution``."""
    resolution: int = 256
    """Pixels a side that it is built for; it works on others, and attends at the same levels."""
    colours: int = 3
    """Channels of the picture: 3, 1, or the classes of a segmentation."""
    latent: int = 256
    """Channels between the networks and the 1x1 convolutions around the quantizer."""
    dropout: float = 0.0
    """Of the residual blocks, in [0, 1)."""

    def __post_init__(self) -> None:
        if not self.multipliers or min(self.multipliers) < 1:
            raise BadSetting(f"the multipliers are {self.multipliers}; give one above 0 for each level")
        least = min(self.channels, self.blocks, self.resolution, self.colours, self.latent)
        if least < 1:
            raise BadSetting("channels, blocks, resolution, colours and latent must be at least 1")
        if not 0 <= self.dropout < 1:
            raise BadSetting(f"the dropout is {self.dropout}; it must be in [0, 1)")
        levels = [self.side(level) for level in range(len(self.multipliers))]
        if strange := sorted(set(self.attention) - set(levels)):
            raise BadSetting(f"no level has {strange[0]} pixels a side to attend at; they have {levels}")

    @property
    def hop(self) -> int:
        """Pixels a side for each code."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def per_level(self) -> list[int]:
        """Channels of each level."""
        return [self.channels * times for times in self.multipliers]

    def side(self, level: int) -> int:
        """Pixels a side at a level."""
        return self.resolution // 2**level

    def attends(self, level: int) -> bool:
        """Whether the level attends."""
        return self.side(level) in self.attention


F16 = Widths()
F32 = Widths(multipliers=(1, 1, 2, 2, 4, 4), attention=(8,))
SIZES = {
    "tiny": Widths(32, (1, 1, 2), 1, (16,), 64, latent=64),
    "tiny-f8": Widths(32, (1, 1, 2, 2), 1, (8,), 64, latent=64),
    "small": Widths(32, (1, 2, 2, 4), 1, (8,), 64, latent=64),
    "base": Widths(64, (1, 2, 2, 4), 1, (8,), 64, latent=128),
    "base-f4": Widths(64, (1, 2, 4), 1, (16,), 64, latent=128),
    "f16": F16,
    "f16-depth": replace(F16, colours=1),
    "f16-coco": replace(F16, colours=183),
    "f16-sflckr": replace(F16, colours=182),
    "f16-ade": replace(F16, colours=151),
    "f8": replace(F16, multipliers=(1, 1, 2, 4), attention=(32,)),
    "f8-rq": replace(F16, multipliers=(1, 2, 2, 4), attention=(32,)),
    "f32": F32,
    "f32-ffhq": replace(F32, attention=(16,)),
}


def widths_of(size: str | Widths, colours: int | None = None) -> Widths:
    """The widths called ``size``, or those given; for pictures of so many ``colours`` if that is said.

    Raises:
        BadSetting: there are none of that name.
    """
    size = preset(size, SIZES, "VQGAN")
    return size if colours is None else replace(size, colours=colours)
