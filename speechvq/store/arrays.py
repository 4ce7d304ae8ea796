"""Named arrays of examples by split in one folder: ``arrays.json`` beside one ``.npy`` file for each.

For data that is small enough to be decoded once and is then read at random many times: pictures, depth
maps, class labels, actions. The files are memory maps, so that a worker reads only what it is asked for.
"""

import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechvq.errors import BadManifest, WouldOverwrite
from speechvq.store.atomic import atomic
from speechvq.store.manifest import SPLITS

INDEX = "arrays.json"
VERSION = 1

type Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """One array of a split, but for its number of rows."""

    shape: tuple[int, ...]  # of one row: (C, H, W) of a picture, () of a label
    dtype: str = "uint8"  # of numpy


@dataclass(frozen=True)
class ArrayStore:
    """What a folder of arrays holds; nothing is read before `arrays` is called.

    Attributes:
        folder: where it is.
        counts: rows of each split.
        files: for each split the file of each array, relative to the folder.
        names: what the numbers of an array mean, in order ("label": ("T-shirt", ...)).
        facts: where it comes from and how it was made, for people.
    """

    folder: Path
    counts: dict[str, int]
    files: dict[str, dict[str, str]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def arrays(self, split: str) -> Arrays:
        """The arrays of a split as read-only memory maps with one row an example; none if it is empty.

        Raises:
            BadManifest: a file is missing, damaged, or of another length than the index says.
        """
        opened = {}
        for name, file in self.files.get(split, {}).items():
            path = self.folder / file
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise BadManifest(f"{path} is missing or damaged ({error}); make the folder anew") from error
            if not isinstance(array, np.ndarray) or array.shape[:1] != (self.counts[split],):
                raise BadManifest(f"{path} is not the array of {self.counts[split]} rows that {INDEX} says")
            opened[name] = array
        return opened


def read_arrays(folder: str | Path) -> ArrayStore:
    """The store in ``folder``.

    Raises:
        BadManifest: there is none, or its index is damaged.
    """
    folder = Path(folder)
    path = folder / INDEX
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version = told.pop("version")
        counts = {split: int(n) for split, n in told["counts"].items() if split in SPLITS}
        files = {split: dict(told["files"][split]) for split in counts}
        names = {name: tuple(map(str, values)) for name, values in told.get("names", {}).items()}
        facts = dict(told.get("facts", {}))
    except FileNotFoundError as error:
        raise BadManifest(f"there is no {path}; `speechvq prepare` makes one") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadManifest(f"{path} cannot be read as an index of arrays: {error}") from error
    if version != VERSION:
        raise BadManifest(f"{path} is of version {version}, and only {VERSION} can be read; make it anew")
    for file in (file for part in files.values() for file in part.values()):
        if not isinstance(file, str) or Path(file).name != file:
            raise BadManifest(f"{path} names {file!r}, which is not a file of its own folder")
    return ArrayStore(folder, counts, files, names, facts)


@contextmanager
def write_arrays(
    folder: str | Path,
    counts: Mapping[str, int],
    kinds: Mapping[str, Kind],
    *,
    names: Mapping[str, tuple[str, ...]] | None = None,
    facts: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Iterator[dict[str, Arrays]]:
    """Arrays by split and name to be filled inside the block; the store appears whole or not at all.

    Args:
        folder: where the store goes; other files in it stay.
        counts: rows of each split; one without rows is left out.
        kinds: every array, the same in all splits.
        names: see `ArrayStore`; read when the block ends, so that it may grow inside.
        facts: the same.
        force: replace a store that is there, once the new one is complete.

    Raises:
        WouldOverwrite: there is a store, and ``force`` is False.
    """
    folder, made = Path(folder), uuid.uuid4().hex[:8]  # a new store's files never meet an old one's
    if not force and (folder / INDEX).exists():
        raise WouldOverwrite(folder / INDEX)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {split: n for split, n in counts.items() if n}
    files = {split: {name: f"{split}-{name}-{made}.npy" for name in kinds} for split in counts}
    paths = [folder / file for part in files.values() for file in part.values()]
    before = _files(folder)
    try:
        opened: dict[str, Arrays] = {split: {} for split in counts}
        for split, part in files.items():
            for name, file in part.items():
                shape = (counts[split], *kinds[name].shape)
                opened[split][name] = np.lib.format.open_memmap(
                    folder / file, mode="w+", dtype=np.dtype(kinds[name].dtype), shape=shape
                )
                _claim(folder / file)
        yield opened
        for array in (array for part in opened.values() for array in part.values()):
            array.flush()  # pyright: ignore[reportAttributeAccessIssue] (a memory map)
        told = {"version": VERSION, "counts": counts, "files": files}
        told |= {"names": {k: list(v) for k, v in (names or {}).items()}, "facts": dict(facts or {})}
        with atomic(folder / INDEX, force=force) as temporary:
            temporary.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except BaseException:
        _remove(paths)
        raise
    _remove(before)


def _files(folder: Path) -> list[Path]:
    """The arrays of the store that is there, if there is a readable one."""
    try:
        return [folder / file for part in read_arrays(folder).files.values() for file in part.values()]
    except BadManifest:
        return []


def _claim(path: Path) -> None:
    """Have the file's space now: where a map is written and the disk is full, the process is killed."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that cannot
                    raise


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
