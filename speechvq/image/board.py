"""What to see of a codec in training: pictures above what it makes of them; and what a prior made up."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechvq.codec import Batch, Codec, Codes
from speechvq.image.sheet import sheet


@dataclass(frozen=True)
class Medium:
    """Something to show.

    Attributes:
        tag: its name; what belongs together shares the part before the slash.
        kind: "image" or "text".
        array: (H, W, 3) uint8, or a string.
        rate: not used; pictures have no time.
    """

    tag: str
    kind: str
    array: np.ndarray | str
    rate: int = 1


@torch.no_grad()
def media(codec: Codec, batch: Batch, *, pairs: int = 8) -> list[Medium]:
    """Pictures in the upper row, what the codec makes of them in the lower; and the first one's codes.

    Args:
        codec: left in the mode it is in.
        batch: held-out pictures, always the same ones.
        pairs: pictures to show, at most.
    """
    shown = batch.signal[:pairs]
    codes = codec.encode(shown)
    made = codec.decode(codes)
    both = torch.cat([shown.float(), made[..., : shown.shape[2], : shown.shape[3]].float()])
    return [
        Medium("pairs/picture-codec", "image", sheet(both, columns=len(shown))),
        Medium("codes/pair-0", "text", words(codes.indices[0])),
    ]


@torch.no_grad()
def made_up(
    codec: Codec, codes: Codes, condition: Mapping[str, Tensor] | None = None, *, name: str = "made-up"
) -> list[Medium]:
    """Codes (B, K, H, W) that a prior made up, as pictures on one sheet; ``condition`` is not shown."""
    made = codec.decode(codes)
    return [
        Medium(f"{name}/pictures", "image", sheet(made)),
        Medium(f"codes/{name}-0", "text", words(codes.indices[0])),
    ]


def words(indices: Tensor) -> str:
    """(K, H, W) codes as rows of numbers, each codebook's grid as a block of preformatted text."""
    grids = ["\n".join("    " + " ".join(map(str, row)) for row in grid.tolist()) for grid in indices]
    return "\n\n".join(grids)
