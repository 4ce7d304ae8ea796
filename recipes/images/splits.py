"""Pictures of one split as batches: in order, spread over all of it, or shuffled to learn from."""

from collections.abc import Iterator, Sequence

import torch

from speechvq.codec import Batch
from speechvq.image.data import PictureData


def first(data: PictureData, count: int, size: int = 50) -> Iterator[Batch]:
    """The first ``count`` pictures or, if there are not so many, all; ``size`` at a time."""
    return _batches(data, range(min(count, len(data))), size)


def spread(data: PictureData, count: int, size: int = 50) -> Iterator[Batch]:
    """``count`` pictures from all over the split, at most all of it; ``size`` at a time."""
    count = min(count, len(data))
    return _batches(data, [i * len(data) // count for i in range(count)], size)


def shuffled(data: PictureData, steps: int, size: int) -> Iterator[Batch]:
    """``steps`` batches in one random order, again and again."""
    order = torch.randperm(len(data)).tolist()
    return _batches(data, [order[i % len(order)] for i in range(steps * size)], size)


def _batches(data: PictureData, rows: Sequence[int], size: int) -> Iterator[Batch]:
    for at in range(0, len(rows), size):
        yield data.collate([data[0, i] for i in rows[at : at + size]])
