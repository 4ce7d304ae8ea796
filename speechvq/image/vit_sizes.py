"""How large ViT-VQGAN's networks are, and how what its paper leaves open is read.

Sizes: Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (2022), table 1, and "tiny" for a
CPU. Readings: "paper" is a vision transformer as usual (GELU, learned positions) with the paper's network of
two layers and a tanh between them after the blocks (section 3.1); "enhancing" is the public code
thuanz123/enhancing-transformers, which has the tanh inside every block and no such network after them.
"""

from dataclasses import dataclass

from speechvq.errors import BadSetting
from speechvq.table import preset

RANGES = ("signed", "unit")


@dataclass(frozen=True)
class Size:
    """Widths and depths of an encoder or a decoder."""

    blocks: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Heads of their attention."""
    width: int = 128
    """Channels of a patch between the blocks, a multiple of 4."""
    hidden: int = 512
    """Channels between the two layers that each block has for every patch."""

    def __post_init__(self) -> None:
        if min(self.blocks, self.heads, self.width, self.hidden) < 1:
            raise BadSetting("blocks, heads, width and hidden of a vision transformer must be at least 1")
        if self.width % 4:
            raise BadSetting(f"the width of a vision transformer is {self.width}; it must be a multiple of 4")


@dataclass(frozen=True)
class Reading:
    """How the blocks are made, and what pictures the networks see."""

    tanh: bool = False
    """Between the two layers of every block: tanh, instead of GELU."""
    learned: bool = True
    """Positions are learned; else fixed sines and cosines of column and row."""
    last: bool = True
    """A network of two layers with a tanh between them follows the blocks."""
    bias: bool = True
    """Queries, keys and values have one."""
    head: int | None = None
    """Channels of a head; None: the width over the heads."""
    range: str = "signed"
    """Of the pictures that the networks see and make: "signed" is [-1, 1], "unit" [0, 1]. Outside the
    networks pictures are always in [-1, 1]."""

    def __post_init__(self) -> None:
        if self.range not in RANGES:
            raise BadSetting(f"pictures have the range 'signed' or 'unit', not {self.range!r}")
        if self.head is not None and self.head < 1:
            raise BadSetting(f"a head has {self.head} channels; give at least 1")

    def channels(self, size: Size) -> int:
        """Channels of a head.

        Raises:
            BadSetting: the width does not divide into the heads.
        """
        if self.head is None and size.width % size.heads:
            raise BadSetting(f"{size.width} channels do not divide into {size.heads} heads")
        return self.head or size.width // size.heads


SIZES = {
    "tiny": Size(),
    "small": Size(8, 8, 512, 2048),
    "base": Size(12, 12, 768, 3072),
    "large": Size(32, 16, 1280, 5120),
}
READINGS = {
    "paper": Reading(),
    "enhancing": Reading(tanh=True, learned=False, last=False, bias=False, head=64, range="unit"),
}


@dataclass(frozen=True)
class Shape:
    """All that decides what an encoder or a decoder computes, but for the picture's channels."""

    size: Size
    reading: Reading
    patch: int
    """Pixels a side of a patch, each of which becomes one vector."""
    side: int
    """Pixels a side of the largest picture."""

    def __post_init__(self) -> None:
        self.reading.channels(self.size)
        if self.patch < 1 or self.side < 1 or self.side % self.patch:
            raise BadSetting(
                f"pictures of {self.side} pixels a side do not divide into patches of {self.patch}; give a "
                "side that is a multiple of the patch"
            )

    @property
    def grid(self) -> int:
        """Patches a side of the largest picture."""
        return self.side // self.patch


def shape_of(size: str | Size, reading: str | Reading, *, patch: int, side: int) -> Shape:
    """The shape by the names of a size and a reading, or by themselves.

    Raises:
        BadSetting: there are none of that name, or they do not go together.
    """
    reading = preset(reading, READINGS, "ViT-VQGAN", what="reading")
    return Shape(preset(size, SIZES, "ViT-VQGAN"), reading, patch, side)
