"""Any folder of pictures, decoded, scaled and cut once, to a store that is read quickly.

`speechvq.image.data` reads such a folder as it lies; this is for pictures that are large, many or slow to
come by.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from speechvq.errors import BadPicture
from speechvq.image.files import Frame, Size
from speechvq.image.folder import FolderRows, FolderSource, report
from speechvq.store.arrays import INDEX, Arrays, ArrayStore, Kind, read_arrays, write_arrays
from speechvq.store.atomic import refuse
from speechvq.store.manifest import SPLITS

MEMORY = 2**28  # bytes of pictures in memory at a time, and of one at least


def pictures(
    root: Path, out: Path, *, size: Size = (128, 128), valid: float = 0.05, force: bool = False
) -> ArrayStore:
    """The pictures below ``root`` as ``size`` (height, width), cut from the middle; broken ones left out.

    Classes and splits are found as `speechvq.image.folder` does; ``valid`` is the share held out where no
    folder says.

    Raises:
        BadSetting: there is no picture that can be read.
        WouldOverwrite: there is a store in ``out``, and ``force`` is False.
    """
    refuse(out / INDEX, force=force)
    frame, source = Frame(size), FolderSource(root, valid=valid)
    out.mkdir(parents=True, exist_ok=True)
    bad: list[BadPicture] = []
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    # How many there are is known when all have been decoded; till then they are kept in a nameless file.
    total = len(source.sizes)
    with (
        tempfile.TemporaryFile(dir=out) as raw,
        tqdm(total=total, desc="reading pictures", disable=None) as bar,
    ):
        for split in SPLITS:
            for found in _decoded(source.files(split, frame)):
                bar.update()
                if isinstance(found, BadPicture):
                    bad.append(found)
                    continue
                raw.write(_middle(found["picture"], size).tobytes())
                labels[split].append(int(found.get("label", 0)))
        report(root, bad, total)
        raw.seek(0)
        _store(raw, labels, out, source, size=size, force=force)
    return read_arrays(out)


def _decoded(rows: FolderRows) -> Iterator[Arrays | BadPicture]:
    """Every row in order, decoded by several threads."""
    block = max(1, MEMORY // (rows.channels * math.prod(rows.frame.size)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in batched(range(len(rows)), block):
            yield from pool.map(rows.attempt, some)


def _middle(picture: np.ndarray, size: Size) -> np.ndarray:
    top, left = ((a - b) // 2 for a, b in zip(picture.shape[1:], size, strict=True))
    return picture[:, top : top + size[0], left : left + size[1]]


def _store(
    raw: IO[bytes], labels: dict[str, list[int]], out: Path, source: FolderSource, *, size: Size, force: bool
) -> None:
    """The pictures of ``raw``, split after split, to a store."""
    kinds = {"picture": Kind((3, *size))} | {name: Kind((), "int64") for name in source.names}
    counts, facts = {split: len(rows) for split, rows in labels.items()}, {"source": "a folder of pictures"}
    with write_arrays(out, counts, kinds, names=source.names, facts=facts, force=force) as arrays:
        for split, part in arrays.items():
            for place in range(counts[split]):
                read = np.frombuffer(raw.read(3 * size[0] * size[1]), np.uint8)
                part["picture"][place] = read.reshape(3, *size)
            if "label" in part:
                part["label"][:] = labels[split]
