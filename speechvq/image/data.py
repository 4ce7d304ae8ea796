"""Pictures as training batches: scaled, cropped, perhaps mirrored, with what is known of them.

``data.root`` may be what `speechvq prepare` made or any folder of picture files. What an item is depends on
the seed, the epoch and its place alone, not on who loads it or when.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from speechvq.codec import Batch
from speechvq.errors import BadPicture, BadSetting, UnknownName
from speechvq.image.files import MODES, Frame, Size, recolour, scale
from speechvq.image.sources import Rows, open_source
from speechvq.image.views import VIEWS, view
from speechvq.store.arrays import Arrays
from speechvq.store.manifest import SPLITS
from speechvq.table import settings

log = logging.getLogger(__name__)
SIDE = 128  # pixels, where neither the settings nor the pictures say
MAPS = ("depth", "segmentation")
CONDITIONS = ("label", "action", "text", "keypoints", *MAPS)
"""What a batch's condition may hold: "label" and "action" (B,) int64; "text" (B, n) int64, of an alphabet;
"keypoints" (B, n, 2) float in [0, 1] from the top and from the left, not a number where there is none;
"depth" (B, 1, H, W) float in [-1, 1], -1 nearest; "segmentation" (B, H, W) int64."""


@dataclass(frozen=True)
class PictureDataSettings:
    """Which pictures, and what is made of them."""

    root: str = ""  # a folder of pictures, or what `speechvq prepare` made
    view: str = "picture"  # what the codec sees of them: picture, depth, segmentation, edges or low
    size: int | tuple[int, int] | None = None  # pixels a side, or (height, width); null: as stored, else 128
    crop: str = "center"  # where pictures are cut to size: center, or random (in training)
    shorter: int | None = None  # scale the shorter side to this before the cut; null: as little as needed
    flip: bool = False  # mirror half of the training pictures
    channels: int | None = None  # 1 grey, 3 RGB; null: as stored, RGB of a bare folder
    conditions: tuple[str, ...] | None = None  # those of `CONDITIONS` that are wanted; null: all
    valid: float = 0.05  # share of a bare folder that is held out, in [0, 0.5]
    cache: float = 4.0  # GB of memory in which a folder's pictures may be kept, else they are read anew
    seed: int = 0  # of crops and mirroring

    def __post_init__(self) -> None:
        if not self.root:
            raise BadSetting("no pictures: give data.root=FOLDER, of pictures or made by `speechvq prepare`")
        if self.view not in VIEWS:
            raise UnknownName("view of pictures", self.view, list(VIEWS))
        if self.crop not in ("center", "random"):
            raise UnknownName("crop", self.crop, ["center", "random"])
        if self.channels not in (None, *MODES):
            raise BadSetting(f"data.channels is {self.channels}; give 1 (grey) or 3 (RGB), or null")
        for name in self.conditions or ():
            if name not in CONDITIONS:
                raise UnknownName("condition of pictures", name, list(CONDITIONS))
        sides = self.size if isinstance(self.size, tuple) else (self.size,) * 2
        if self.size is not None and not (len(sides) == 2 and all(_whole(side) for side in sides)):
            raise BadSetting(f"data.size is {self.size}; give pixels a side, or [height, width]")
        if not 0 <= self.valid <= 0.5 or self.cache < 0 or self.seed < 0:
            raise BadSetting("data.valid must be in [0, 0.5], data.cache and data.seed at least 0")


class PictureCorpus:
    """Pictures by split, before it is known for which codec they are cut.

    Attributes:
        size: height and width of every picture of a batch.
        channels: of the pictures, 1 or 3.
        conditions: what a batch's condition holds.
        names: what its numbers mean ("label": ("Trouser", ...), "segmentation": ("Wall", ...)).
    """

    speakers: tuple[str, ...] = ()
    """Pictures have no voice."""

    def __init__(self, settings: PictureDataSettings) -> None:
        """Open the source; of a folder, the files' headers are read.

        Raises:
            BadSetting, BadManifest: it cannot be used, or has not what is asked for.
        """
        self.settings = settings
        self.source = open_source(settings.root, valid=settings.valid)
        size = settings.size or self.source.size or SIDE
        self.size: Size = (size, size) if isinstance(size, int) else size
        self.frame = Frame(self.size, settings.shorter)
        self.channels, self.names = settings.channels or self.source.channels, self.source.names
        there = tuple(name for name in CONDITIONS if name in self.source.kinds)
        self.conditions = there if settings.conditions is None else settings.conditions
        if missing := set(self.conditions) - set(there):
            known = ", ".join(there) or "no condition"
            raise BadSetting(f"{settings.root} has no {', '.join(sorted(missing))}; it has {known}")
        if settings.view in MAPS and settings.view not in self.conditions:
            raise BadSetting(f"{settings.root} has no {settings.view} to look at")
        if not self.source.counts.get("train"):
            raise BadSetting(f"{settings.root} has no pictures to train on")

    @property
    def colours(self) -> int:
        """Channels of the view that is looked at."""
        return self.colours_of(self.settings.view)

    def colours_of(self, view: str) -> int:
        """Channels of a view: of a segmentation as many as there are classes."""
        known = {"depth": 1, "edges": 1, "segmentation": len(self.names.get("segmentation", ()))}
        return known.get(view, self.channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty where pictures have none."""
        return self.names.get("label", ())

    def __str__(self) -> str:
        counts = [f"{self.source.counts.get(split, 0):,} pictures ({split})" for split in SPLITS[:2]]
        colour = "grey" if self.channels == 1 else "RGB"
        what = [f"{self.size[0]} x {self.size[1]} {colour}"]
        what += [f"{len(self.classes)} classes"] if self.classes else []
        what += [name for name in self.conditions if name in MAPS]
        return f"{', '.join(counts)}; {', '.join(what)}"

    def split(
        self, name: str, *, hop: int = 1, speakers: Sequence[str] = (), still: bool = False
    ) -> "PictureData":
        """Pictures of one split for a codec with this ``hop``; there may be none. ``speakers`` are not used.

        Training pictures are cut and mirrored at random, unless ``still``.

        Raises:
            BadSetting: the size is not a multiple of ``hop``, or no picture can be read.
        """
        if any(side % hop for side in self.size):
            raise BadSetting(
                f"pictures of {self.size[0]} x {self.size[1]} do not divide into codes of {hop} pixels a "
                f"side; give data.size as a multiple of {hop}"
            )
        rows = self.source.rows(name, self.frame, channels=self.channels, cache=self.settings.cache)
        return PictureData(rows, self, random=name == "train" and not still)


def open_corpus(values: Mapping[str, Any], *, rate: float = 1) -> PictureCorpus:
    """The corpus of plain `PictureDataSettings`; ``rate`` is not used, for pictures have no time."""
    return PictureCorpus(settings(PictureDataSettings, values, "data"))


class PictureData(Dataset[Arrays]):
    """Pictures by (epoch, index), each a mapping of arrays that are cut to one size."""

    def __init__(self, rows: Rows, corpus: PictureCorpus, *, random: bool) -> None:
        """``rows`` of one split; crops and mirroring are drawn if ``random``, else there are none."""
        self.rows, self.random, self.settings = rows, random, corpus.settings
        self.frame, self.channels, self.conditions = corpus.frame, corpus.channels, corpus.conditions
        self.names = corpus.names
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> Arrays:
        """Example ``index`` as ``epoch`` sees it: "picture" (C, H, W) uint8, and its conditions.

        The place of a file that has broken since it was listed is taken by the next one that can be read.

        Raises:
            BadPicture: none can be read any more.
        """
        epoch, index = key
        row = self._readable(index)
        scaled = self.frame.scaled(*row["picture"].shape[-2:])
        rooms = [whole - part for whole, part in zip(scaled, self.frame.size, strict=True)]
        starts, mirror = [room // 2 for room in rooms], False
        if self.random:
            draw = np.random.default_rng((self.settings.seed, epoch, index))
            places = [int(draw.integers(room + 1)) for room in rooms]
            starts = places if self.settings.crop == "random" else starts
            mirror = self.settings.flip and bool(draw.integers(2))
        cut = (..., *(slice(at, at + side) for at, side in zip(starts, self.frame.size, strict=True)))
        found = {"picture": recolour(row["picture"], self.channels)}
        found |= {name: row[name] for name in self.conditions}
        for name in ("picture", *MAPS):
            if name in found:
                array = scale(found[name], scaled, exact=name == "segmentation")[cut]
                found[name] = array[..., ::-1] if mirror else array
        if "keypoints" in found:
            found["keypoints"] = _moved(found["keypoints"], scaled, starts, self.frame.size, mirror=mirror)
        return found

    def collate(self, items: Sequence[Arrays]) -> Batch:
        """Items to a `Batch` of signals (B, C, H, W) in [-1, 1]; see `CONDITIONS` for the rest."""
        stacked = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
        made = {"depth": in_range, "keypoints": Tensor.float}
        condition = {
            name: made.get(name, Tensor.long)(values) for name, values in stacked.items() if name != "picture"
        }
        picture, classes = in_range(stacked["picture"]), len(self.names.get("segmentation", ()))
        return Batch(view(self.settings.view, picture, condition, classes=classes), None, condition)

    def _readable(self, index: int) -> Arrays:
        count = len(self.rows)
        for place in ((index + step) % count for step in range(count)):
            try:
                return self.rows[place]
            except BadPicture as error:
                if place not in self._broken:
                    log.warning("left out: %s", error)
                    self._broken.add(place)
        raise BadPicture(self.settings.root, "has no picture that can be read any more")


def in_range(levels: Tensor) -> Tensor:
    """Levels 0 ... 255 as float32 in [-1, 1]: level k is k / 127.5 - 1."""
    return levels.float() / 127.5 - 1


def _moved(
    points: np.ndarray, scaled: Size, starts: Sequence[int], size: Size, *, mirror: bool
) -> np.ndarray:
    """Points (n, 2) of a picture as points of what is cut out of it; not a number where they are cut off."""
    moved = (points.astype(np.float64) * scaled - starts) / size
    if mirror:
        moved[:, 1] = 1 - moved[:, 1]
    moved[((moved < 0) | (moved > 1)).any(1)] = np.nan
    return moved.astype(np.float32)


def _whole(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and side > 0
