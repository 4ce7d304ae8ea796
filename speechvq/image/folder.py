"""Any folder of picture files as examples; folders in it are classes or splits if they look so."""

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speechvq.errors import BadPicture, BadSetting
from speechvq.image.files import Frame, Size, picture_files, picture_size, read_picture
from speechvq.store.arrays import Arrays
from speechvq.store.layout import hold_out
from speechvq.store.manifest import SPLITS

log = logging.getLogger(__name__)
SPLIT_FOLDERS = {"train": "train", "training": "train", "valid": "valid", "val": "valid",
                 "validation": "valid", "test": "test", "testing": "test"}  # fmt: skip
"""Names of folders that say which split lies in them."""


class FolderSource:
    """Picture files below a folder; see `speechvq.image.sources.Source`."""

    size: Size | None = None
    channels = 3
    kinds: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    counts: dict[str, int]

    def __init__(self, root: Path, *, valid: float) -> None:
        """List the files and read their headers; ``valid`` is the share held out where no folder says.

        Raises:
            BadSetting: there is no such folder, or no picture in it that can be read.
        """
        files = picture_files(root)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            looking = pool.map(_look, files)
            looked = list(tqdm(looking, "looking at pictures", len(files), leave=False, disable=None))
        report(root, [found for found in looked if isinstance(found, BadPicture)], len(files))
        self.root = root
        self.sizes = {
            file.relative_to(root): size
            for file, size in zip(files, looked, strict=True)
            if not isinstance(size, BadPicture)
        }
        places = list(self.sizes)
        self.splits = split_of(places, valid=valid)
        tally = Counter(self.splits.values())
        self.counts = {split: tally[split] for split in SPLITS if tally[split]}
        if by_split(places):
            inside = {place: Path(*place.parts[1:]) for place in places}
        else:
            inside = {place: place for place in places}
        classes = classes_of(list(inside.values()))
        self.labels = {place: classes.index(inside[place].parts[0]) for place in places} if classes else {}
        self.names = {"label": classes} if classes else {}
        self.kinds = ("picture", *self.names)

    def files(self, split: str, frame: Frame, *, channels: int = 3) -> "FolderRows":
        """The files of a split, scaled for ``frame`` whenever one is asked for."""
        places = [place for place in self.sizes if self.splits[place] == split]
        return FolderRows(self.root, places, self.labels, frame, channels)

    def rows(self, split: str, frame: Frame, *, channels: int, cache: float) -> Sequence[Arrays]:
        """See `Source`: in memory, without what cannot be decoded, if that takes at most ``cache`` GB.

        Raises:
            BadSetting: none of the files to train on can be decoded.
        """
        rows = self.files(split, frame, channels=channels)
        taken = channels * sum(math.prod(frame.scaled(*self.sizes[place])) for place in rows.places)
        if not rows.places or taken > cache * 1e9:
            return rows
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loading = pool.map(rows.attempt, range(len(rows)))
            loaded = list(tqdm(loading, "reading pictures", len(rows), leave=False, disable=None))
        bad = [row for row in loaded if isinstance(row, BadPicture)]
        report(self.root, bad, len(rows), fatal=split == "train")
        return [row for row in loaded if not isinstance(row, BadPicture)]


@dataclass(frozen=True)
class FolderRows(Sequence[Arrays]):
    """The files of one split, decoded when they are asked for."""

    root: Path
    places: list[Path]
    labels: dict[Path, int]
    frame: Frame
    channels: int

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Arrays:
        place = self.places[index]
        row = {"picture": read_picture(self.root / place, self.frame, channels=self.channels)}
        return row | ({"label": np.asarray(self.labels[place])} if self.labels else {})

    def attempt(self, index: int) -> Arrays | BadPicture:
        """Row ``index``, or what is wrong with its file."""
        try:
            return self[index]
        except BadPicture as error:
            return error


def split_of(places: Sequence[Path], *, valid: float) -> dict[Path, str]:
    """The split of every file: by folders called train and so on if all lie in such; else by a hash.

    With folders for training and test only, the validation split is cut from training by the hash.
    """
    said = {p: SPLIT_FOLDERS[p.parts[0].lower()] for p in places} if by_split(places) else {}
    open_ = [p for p in places if said.get(p, "train") == "train"]
    share = 0.0 if "valid" in said.values() else valid
    held = hold_out((p.as_posix() for p in open_), valid=share, test=0.0, seed=0)
    if "train" not in held.values():  # one or two pictures
        held = dict.fromkeys(held, "train")
    return {p: held.get(p.as_posix(), said.get(p, "train")) for p in places}


def classes_of(places: Sequence[Path]) -> tuple[str, ...]:
    """Names of the classes, sorted: the folders, if every file lies in one and there are two or more.

    Not if there are as many folders as pictures or nearly so (more than half as many).
    """
    names = sorted({place.parts[0] for place in places})
    nested = all(len(place.parts) > 1 for place in places)
    return tuple(names) if nested and 2 <= len(names) <= len(places) / 2 else ()


def report(root: Path, bad: Sequence[BadPicture], total: int, *, fatal: bool = True) -> None:
    """Say once which files were left out.

    Raises:
        BadSetting: it was all ``total`` of them, and that is ``fatal``.
    """
    if not bad:
        return
    if fatal and len(bad) == total:
        raise BadSetting(f"none of the {total} pictures in {root} can be read; the first: {bad[0]}")
    told = "; ".join(str(error) for error in bad[:5]) + ("; ..." if len(bad) > 5 else "")
    log.warning("left out %d of %d pictures: %s", len(bad), total, told)


def by_split(places: Sequence[Path]) -> bool:
    """Whether every file lies in a folder that is called by the name of a split, one of them train."""
    first = {place.parts[0].lower() for place in places if len(place.parts) > 1}
    flat = any(len(place.parts) == 1 for place in places)
    return not flat and first <= set(SPLIT_FOLDERS) and "train" in {SPLIT_FOLDERS[name] for name in first}


def _look(path: Path) -> Size | BadPicture:
    try:
        return picture_size(path)
    except BadPicture as error:
        return error
