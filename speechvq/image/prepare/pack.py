"""Pictures and labels that fit in memory to a store, with a validation split cut by a hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechvq.errors import BadSetting
from speechvq.store.arrays import ArrayStore, Kind, read_arrays, write_arrays
from speechvq.store.layout import hold_out


@dataclass(frozen=True)
class Part:
    """One published split.

    Attributes:
        pictures: (N, C, H, W) uint8.
        labels: (N,) integers from 0.
    """

    pictures: np.ndarray
    labels: np.ndarray


def pack(
    parts: Mapping[str, Part],
    out: Path,
    *,
    classes: Sequence[str],
    source: str,
    valid: float = 0.1,
    force: bool = False,
) -> ArrayStore:
    """Write the splits "train" and "test", and of the first a share ``valid`` that is held out.

    Which pictures are held out depends on their places alone; the order of the rest is kept.

    Raises:
        BadSetting: the share leaves nothing to train on.
        WouldOverwrite: there is a store in ``out``, and ``force`` is False.
    """
    if not 0 <= valid < 1:
        raise BadSetting(f"the held-out share {valid} must be at least 0 and below 1")
    train = parts["train"]
    split = hold_out(map(str, range(len(train.labels))), valid=valid, test=0.0, seed=0)
    held = np.array([split[str(place)] == "valid" for place in range(len(train.labels))])
    if held.all():
        raise BadSetting(f"holding out {valid} of {len(held)} pictures leaves none to train on")
    cut = {
        "train": Part(train.pictures[~held], train.labels[~held]),
        "valid": Part(train.pictures[held], train.labels[held]),
        "test": parts["test"],
    }
    counts = {name: len(part.labels) for name, part in cut.items()}
    kinds = {"picture": Kind(train.pictures.shape[1:]), "label": Kind((), "int64")}
    names, facts = {"label": tuple(classes)}, {"source": source}
    with write_arrays(out, counts, kinds, names=names, facts=facts, force=force) as arrays:
        for name, opened in arrays.items():
            opened["picture"][:], opened["label"][:] = cut[name].pictures, cut[name].labels
    return read_arrays(out)
