"""Pictures as sheets to look at: many on one, in levels of a screen, whatever they hold."""

import math

import numpy as np
import torch
from torch import Tensor

GAP = 2  # pixels between two pictures
WHITE = 255


def sheet(pictures: Tensor, *, columns: int | None = None) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] as one (H', W', 3) uint8 picture, row after row.

    One channel is grey, three are RGB, and of any other number the largest decides the colour. Small
    pictures are enlarged by a whole number, so that their pixels can be seen. ``columns`` are about as many
    as rows if not given.
    """
    shown = levels(pictures)
    count, height, width, _ = shown.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    times = max(1, 96 // max(height, width))
    shown = shown.repeat(times, axis=1).repeat(times, axis=2)
    height, width = times * height + GAP, times * width + GAP
    page = np.full((rows * height - GAP, columns * width - GAP, 3), WHITE, np.uint8)
    for place, picture in enumerate(shown):
        top, left = place // columns * height, place % columns * width
        page[top : top + height - GAP, left : left + width - GAP] = picture
    return page


def levels(pictures: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] as (N, H, W, 3) uint8; see `sheet`."""
    pictures = pictures.detach().float().cpu()
    if pictures.shape[1] not in (1, 3):
        return class_colours(pictures.argmax(1))
    found = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()
    return found.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()


def class_colours(classes: Tensor) -> np.ndarray:
    """(N, H, W) class numbers as (N, H, W, 3) uint8: always the same colour for the same number."""
    bits = torch.arange(8)
    # Each class's own bits, spread over the three channels from the highest down (as PASCAL VOC does).
    number = (classes.cpu().long()[..., None] % 256 >> bits) & 1
    found = torch.zeros(*classes.shape, 3, dtype=torch.long)
    for bit in range(8):
        found[..., bit % 3] |= number[..., bit] << (7 - bit // 3)
    return found.byte().numpy()
