"""CIFAR-10 in its binary version (cs.toronto.edu/~kriz/cifar.html).

Six files of 10,000 records; a record is the class in one byte and a picture in 3072: red, green and blue
planes of 32 x 32 pixels.
"""

from pathlib import Path

import numpy as np

from speechvq.errors import BadSetting
from speechvq.image.prepare.pack import Part, pack
from speechvq.store.arrays import ArrayStore

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD = 1 + 3 * 32 * 32  # bytes


def cifar10(root: Path, out: Path, *, valid: float = 0.1, force: bool = False) -> ArrayStore:
    """The data_batch_N.bin below ``root`` to train on, test_batch.bin for the test; see `fashion_mnist`.

    Raises:
        BadSetting: the files are not there, or are damaged.
        WouldOverwrite: there is a store in ``out``, and ``force`` is False.
    """
    batches = sorted(root.rglob("data_batch_*.bin"))
    tests = sorted(root.rglob("test_batch.bin"))
    if not batches or not tests:
        layout = "data_batch_1.bin (to 5) and test_batch.bin"
        raise BadSetting(f"{root} does not look like CIFAR-10's binary version: it should hold {layout}")
    parts = {"train": _read(batches), "test": _read(tests[:1])}
    return pack(parts, out, classes=CLASSES, source="CIFAR-10", valid=valid, force=force)


def _read(paths: list[Path]) -> Part:
    records = []
    for path in paths:
        data = np.fromfile(path, np.uint8)
        if not data.size or data.size % RECORD:
            raise BadSetting(f"{path} is truncated or damaged: {data.size} bytes, not records of {RECORD}")
        records.append(data.reshape(-1, RECORD))
    together = np.concatenate(records)
    if (largest := int(together[:, 0].max())) >= len(CLASSES):
        raise BadSetting(f"{paths[0].parent}: a label is {largest}, of {len(CLASSES)} classes")
    return Part(together[:, 1:].reshape(-1, 3, 32, 32), together[:, 0])
