"""What a codec of pictures can be given to look at: the picture, what goes with it, or what is made of it.

Each view has a codec of its own, whose codes then tell a prior what a picture is to be like ("Taming
Transformers for High-Resolution Image Synthesis", Esser et al. 2021, section 3.2).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from speechvq.errors import BadSetting, UnknownName

VIEWS = ("picture", "depth", "segmentation", "edges", "low")
COARSE = 8
"""How many pixels a side of a picture are one of its "low" view."""


def view(name: str, picture: Tensor, condition: Mapping[str, Tensor], *, classes: int = 0) -> Tensor:
    """One view (B, C, H, W) of pictures (B, C, H, W) in [-1, 1].

    Args:
        name: "picture" itself; "depth" (B, 1, H, W) in [-1, 1]; "segmentation" as one-hot (B, classes, H, W);
            "edges", how fast brightness changes, (B, 1, H, W) in [-1, 1]; "low", the picture with an
            eighth of its pixels a side, scaled up again.
        picture: the pictures.
        condition: "depth" and "segmentation" come from here.
        classes: of segmentations.

    Raises:
        UnknownName: there is no such view.
        BadSetting: the pictures come without it, or a class is beyond ``classes``.
    """
    if name not in VIEWS:
        raise UnknownName("view of pictures", name, list(VIEWS))
    if name == "picture":
        return picture
    if name == "edges":
        return _edges(picture)
    if name == "low":
        size = [max(1, side // COARSE) for side in picture.shape[2:]]
        small = F.interpolate(picture, size=size, mode="area")
        return F.interpolate(small, size=picture.shape[2:], mode="bilinear", align_corners=False)
    if name not in condition:
        raise BadSetting(f"these pictures have no {name}; they have {', '.join(condition) or 'nothing else'}")
    if name == "depth":
        return condition[name]
    labels = condition[name]
    if not classes or int(labels.max()) >= classes:
        raise BadSetting(f"a segmentation has the class {int(labels.max())} where {classes} are known")
    return F.one_hot(labels, classes).movedim(-1, 1).to(picture.dtype)


def _edges(picture: Tensor) -> Tensor:
    """Sobel's operator: the length of the gradient of brightness, -1 where even, 1 at the steepest edges."""
    grey = picture.mean(1, keepdim=True)
    across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack([across, across.T])[:, None]
    slopes = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    # A step from black to white is a slope of 1 in one direction.
    return slopes.square().sum(1, keepdim=True).sqrt().clamp(max=1) * 2 - 1
