"""What the file of a published transformer holds besides weights: who sees whom, and the order of places.

Both are checked against what our prior makes of its settings, left out, and made again for a file of theirs.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from speechvq.bridge.checkpoint import Tensors
from speechvq.bridge.taming_config import ORDERS
from speechvq.bridge.taming_names import mask_names
from speechvq.errors import BadCheckpoint
from speechvq.nets.transformer import Depth
from speechvq.prior.orders import order

FORWARD, BACKWARD = "permuter.forward_shuffle_idx", "permuter.backward_shuffle_idx"


def mask(reach: int, unmasked: int) -> Tensor:
    """Their buffer (1, 1, T, T): 1 where the place of a row sees the place of a column.

    A triangle, and a square of 1 for the first ``unmasked`` places, which see one another.
    """
    seen = torch.ones(reach, reach).tril()
    seen[:unmasked, :unmasked] = 1
    return seen[None, None]


def read_masks(tensors: Mapping[str, Tensor], depth: Depth, told: int | None, *, path: str | Path) -> int:
    """How many of the first places see one another; 0 for a triangle.

    Args:
        tensors: with the masks of all layers, or none of them; then it is what was told, or 0 as in
            every published configuration.
        depth: of the transformer.
        told: how many the yaml says.
        path: of the file.

    Raises:
        BadCheckpoint: a mask is no such mask, is another than the others, or is missing.
    """
    names = mask_names(depth.layers)
    if not any(name in tensors for name in names):
        return told or 0
    for name in names:
        if name not in tensors:
            raise BadCheckpoint(f"{path} has no {name!r}, but those of other layers")
        found, shape = tensors[name].float(), (1, 1, depth.reach, depth.reach)
        seen = int(found[0, 0, 0].sum()) if tuple(found.shape) == shape else 0
        if not torch.equal(found, mask(depth.reach, seen)):
            raise BadCheckpoint(f"{path}: {name!r} is no mask of the past, with a beginning or without")
        # Of one place alone it cannot be seen whether it is masked.
        told = seen if told is None else max(told, 1)
        if told != seen:
            raise BadCheckpoint(f"{path}: {name!r} lets the first {seen} places see one another, not {told}")
    return 0 if told == 1 else told or 0


def shuffles(name: str, window: tuple[int, ...]) -> Tensors:
    """Their buffers of an order of places, of which "raster" needs none."""
    if name == "raster":
        return {}
    places = order(name, window)
    return {FORWARD: places.clone(), BACKWARD: places.argsort()}


def read_order(
    tensors: Mapping[str, Tensor], window: tuple[int, ...], told: str | None, *, path: str | Path
) -> str:
    """The name of the order in which the places of a window are written.

    Raises:
        BadCheckpoint: the buffers hold none that we have, or another than was told.
    """
    for name in ORDERS.values() if told is None else [told]:
        wanted = shuffles(name, window)
        found = {key: tensors[key] for key in (FORWARD, BACKWARD) if key in tensors}
        if found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted):
            return name
    raise BadCheckpoint(
        f"{path} writes the {' x '.join(map(str, window))} places of a picture in another order than "
        f"{told or ', '.join(ORDERS.values())}"
    )
