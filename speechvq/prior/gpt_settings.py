"""Settings of the transformer of `speechvq.prior.gpt`: how it reads, and sizes by name.

Those called tiny, small and base are ours, the others of the papers: "Taming Transformers for
High-Resolution Image Synthesis" (Esser et al. 2021, table 8), with 16 heads everywhere, and "High-Resolution
Complex Scene Synthesis with Transformers" (Jahn et al. 2021). In the first of these tables width and codebook
size stand in one another's place for RIN and D-RINv1: what is here gives the number of parameters that it
says. The reach is the longest row, conditions included.

The VIMs are of "Vector-quantized Image Modeling with Improved VQGAN" (Yu et al. 2022, table 2): positions by
row and column, dropout of 0.1 everywhere, for a window of 32 x 32. With 8192 codes and 1000 classes, the
published 650 and 1697 million parameters come out if their attention is three quarters as wide as the rest.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.nets.transformer import Depth
from speechvq.prior.orders import order
from speechvq.prior.windows import Windows


@dataclass(frozen=True)
class Reading:
    """How a picture is read.

    Attributes:
        window: places on each axis that are seen at a time, as in training.
        order: of the places, one of `speechvq.prior.orders.ORDERS`; a window slides in "raster" only.
        unmasked: so many of the conditions' tokens see one another in both directions, or all of them.
        keep: share of the codes, in (0, 1], that are read as they are in training; the others are
            replaced by any ("pkeep").
        blind: how often, in [0, 1), training hides the conditions; above 0 the prior can be guided.
        vocabulary: rows of the one table that codes and conditions share; 0 for tables of their own.
    """

    window: tuple[int, ...] = (16, 16)
    order: str = "raster"
    unmasked: int = 0
    keep: float = 1.0
    blind: float = 0.0
    vocabulary: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if not self.window or min(self.window) < 1:
            raise BadSetting(f"the window {list(self.window)} of the prior must be of at least one place")
        order(self.order, (1, 1))
        if min(self.unmasked, self.vocabulary) < 0:
            raise BadSetting("unmasked and vocabulary of the prior must be 0 or positive numbers of tokens")
        if not 0 < self.keep <= 1:
            raise BadSetting(f"keep is {self.keep}; it is the share of codes left alone, above 0, at most 1")
        if not 0 <= self.blind < 1:
            raise BadSetting(f"blind is {self.blind}; it must be in [0, 1)")
        if self.blind and self.vocabulary:
            raise BadSetting(
                "a shared table has no token for a hidden condition; set blind or vocabulary to 0"
            )

    def places(self, grid: tuple[int, ...]) -> Tensor:
        """The raster places of a grid in the order in which they are read; not to be changed."""
        return order(self.order, grid)

    def windows(self, grid: tuple[int, ...]) -> Windows:
        """Where the window stands on a grid; `BadSetting` if it had to slide, and cannot in this order."""
        windows = Windows.over(grid, self.window)
        if windows.slide and self.order != "raster":
            raise BadSetting(
                f"the grid {grid} is larger than the window {windows.size}, which slides in raster order only"
            )
        return windows


_PAPER = Depth(layers=24, width=1024, heads=16, reach=512, positions="learned")
_VIM = Depth(24, 1536, 16, reach=1025, positions="given", dropout=0.1, inner=1152, inner_dropout=0.1)

SIZES = {
    "tiny": replace(_PAPER, layers=4, width=128, heads=4),
    "small": replace(_PAPER, layers=6, width=256, heads=8, dropout=0.1),
    "base": replace(_PAPER, layers=12, width=512, heads=8, dropout=0.1),
    "rin": replace(_PAPER, layers=12, width=768),
    "c-rin": replace(_PAPER, layers=18, width=768, reach=257),
    "d-rin-v1": replace(_PAPER, layers=14),
    "d-rin": _PAPER,
    "imagenet": replace(_PAPER, reach=256),
    "c-imagenet": replace(_PAPER, reach=257),
    "c-imagenet-big": replace(_PAPER, layers=48, width=1536, reach=257),
    "imagenet-edges": _PAPER,
    "imagenet-sr": replace(_PAPER, layers=12),
    "s-flckr": _PAPER,
    "faceshq": _PAPER,
    "faces": replace(_PAPER, layers=28, reach=256),
    "faces-big": replace(_PAPER, width=1664, reach=256),
    "coco-stuff": replace(_PAPER, layers=32, width=1280),
    "ade20k": replace(_PAPER, layers=28, dropout=0.1),
    "deepfashion": replace(_PAPER, layers=18, width=768, reach=340),
    "lsun-churches": replace(_PAPER, reach=256),
    "cifar10": replace(_PAPER, reach=256),
    "coco-scenes": replace(_PAPER, layers=40, width=1408, reach=348, dropout=0.1),
    "openimages-scenes": replace(_PAPER, layers=36, width=1536, reach=348, dropout=0.1),
    "vim-tiny": replace(_VIM, layers=4, width=128, heads=4, inner=96, dropout=0, inner_dropout=0),
    "vim-small": replace(_VIM, layers=6, width=256, heads=8, inner=192),
    "vim-base": _VIM,
    "vim-large": replace(_VIM, layers=36, width=2048, heads=32, inner=1536),
}
