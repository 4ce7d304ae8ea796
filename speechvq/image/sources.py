"""Where pictures lie: a store that `speechvq prepare` made, or any folder of picture files.

Both give the examples of one split as rows, each a mapping of uint8 or int64 arrays: "picture" (C, h, w)
and what goes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from speechvq.errors import BadManifest
from speechvq.image.files import MODES, Frame, Size
from speechvq.image.folder import FolderSource
from speechvq.store.arrays import INDEX, Arrays, read_arrays

NUMBERED = ("label", "action", "text", "segmentation")
"""What is a class in each of its places; all of it is looked at once, when a store is opened."""

type Rows = Sequence[Arrays]
"""The examples of one split; asking for one whose file turns out to be broken raises `BadPicture`."""


class Source(Protocol):
    """What a place offers before it is known what is made of it."""

    counts: dict[str, int]
    """Examples of each split."""
    names: dict[str, tuple[str, ...]]
    """What the numbers of an array mean: "label", "segmentation", "action"."""
    kinds: tuple[str, ...]
    """The arrays of every example."""
    size: Size | None
    """Height and width, if all are of one size."""
    channels: int

    def rows(self, split: str, frame: Frame, *, channels: int, cache: float) -> Rows:
        """The examples of a split, scaled for ``frame`` and in ``channels`` or as they lie.

        ``cache`` is how many GB of memory they may be kept in.
        """
        ...


class StoreSource:
    """The folder of an `ArrayStore` with "picture" arrays."""

    size: Size | None
    kinds: tuple[str, ...]

    def __init__(self, root: Path) -> None:
        """Open it; nothing is read yet but the index.

        Raises:
            BadManifest: it is damaged, or is not one of pictures.
        """
        self.store = read_arrays(root)
        self.counts, self.names = self.store.counts, self.store.names
        first = self.store.arrays("train")
        if "picture" not in first or first["picture"].ndim != 4 or first["picture"].dtype != np.uint8:
            raise BadManifest(f"{root} holds no pictures to train on")
        self.kinds = tuple(first)
        _, self.channels, height, width = first["picture"].shape
        self.size = (height, width)
        for split in self.counts:
            for name, array in self.store.arrays(split).items():
                self._check(name, array, (height, width), f"{name} of {split} in {root}")

    def _check(self, name: str, array: np.ndarray, size: Size, what: str) -> None:
        """That maps are of the pictures' size, and numbers within their names."""
        planes = {"picture": (self.channels, *size), "depth": (1, *size), "segmentation": size}
        shape = planes.get(name, () if name in ("label", "action") else array.shape[1:])
        if array.shape[1:] != shape or (name == "picture" and self.channels not in MODES):
            raise BadManifest(f"{what}: arrays of {array.shape[1:]} do not belong to pictures of {size}")
        if name == "keypoints" and (array.dtype.kind != "f" or array.ndim != 3 or array.shape[2] != 2):
            raise BadManifest(
                f"{what}: they must be (n, 2) floating-point numbers, from the top and the left"
            )
        if name == "text" and array.ndim != 2:
            raise BadManifest(f"{what}: each must be a row (n,) of integers")
        if name in NUMBERED and len(array):
            known, least, most = len(self.names.get(name, ())), array.min(), array.max()
            if array.dtype.kind not in "iu" or least < 0 or (known and most >= known):
                raise BadManifest(f"{what}: {least} to {most}, of {known} names; make the folder anew")

    def rows(self, split: str, frame: Frame, *, channels: int, cache: float) -> Rows:
        """See `Source`: as they lie, from memory maps (what is read often stays in memory by itself)."""
        return _StoreRows(self.store.arrays(split), self.counts.get(split, 0))


@dataclass(frozen=True)
class _StoreRows(Sequence[Arrays]):
    arrays: Arrays
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Arrays:
        return {name: array[index] for name, array in self.arrays.items()}


def open_source(root: str | Path, *, valid: float) -> Source:
    """The store or the folder of pictures at ``root``; a store's index may be named itself.

    Raises:
        BadSetting, BadManifest: it is neither, or cannot be used.
    """
    root = Path(root)
    if root.name == INDEX:
        root = root.parent
    return StoreSource(root) if (root / INDEX).exists() else FolderSource(root, valid=valid)
