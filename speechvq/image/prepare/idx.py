"""MNIST and what is laid out like it: IDX files (yann.lecun.com/exdb/mnist), plain or gzipped.

Big-endian: two zero bytes, the type of the values (8 is uint8), the number of axes, their lengths in four
bytes each, the values in row-major order.
"""

import gzip
import math
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from speechvq.errors import BadSetting
from speechvq.image.prepare.pack import Part, pack
from speechvq.store.arrays import ArrayStore
from speechvq.store.debian import unpack

PACKAGE = Path("/usr/share/datasets/fashion-mnist")
PREFIXES = {"train": "train", "test": "t10k"}
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_mnist(root: Path | None, out: Path, *, valid: float = 0.1, force: bool = False) -> ArrayStore:
    """Fashion-MNIST (Xiao et al. 2017): 70,000 grey pictures of 28 x 28 pixels, ten classes of clothes.

    Args:
        root: a folder with its four files, or Debian's dataset-fashion-mnist as a ``.deb`` file; None for
            where that package installs them.
        out: where the store goes; the official test split stays the test split.
        valid: share of the training pictures held out, by a hash of their place.
        force: replace a store that is there.

    Raises:
        BadSetting: the files are not there, or are damaged.
        WouldOverwrite: there is a store in ``out``.
    """
    if root is None and not PACKAGE.is_dir():
        raise BadSetting(
            f"there is no folder {PACKAGE}; on Debian and Ubuntu: apt install dataset-fashion-mnist, or give "
            "a folder with the four files of Fashion-MNIST"
        )
    return _mnist(root or PACKAGE, out, CLOTHES, source="Fashion-MNIST", valid=valid, force=force)


def mnist(root: Path, out: Path, *, valid: float = 0.1, force: bool = False) -> ArrayStore:
    """MNIST (LeCun et al. 1998), or anything in its four files and ten classes; see `fashion_mnist`."""
    return _mnist(root, out, tuple("0123456789"), source="MNIST", valid=valid, force=force)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file.

    Raises:
        BadSetting: it is not one, is damaged, or holds values of another type.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadSetting(f"{path} cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8 or len(data) < 4 + 4 * data[3]:
        raise BadSetting(f"{path} is not an IDX file of bytes")
    shape = np.frombuffer(data[4 : 4 + 4 * data[3]], ">u4").tolist()
    values = data[4 + 4 * data[3] :]
    if math.prod(shape) != len(values):
        raise BadSetting(f"{path} is truncated or damaged: {len(values)} values for an array of {shape}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _mnist(
    root: Path, out: Path, classes: Sequence[str], *, source: str, valid: float, force: bool
) -> ArrayStore:
    with ExitStack() as stack:
        if root.suffix == ".deb":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            unpack(root, folder, suffixes=("-ubyte.gz",))
            root = folder
        parts = {split: _part(root, prefix, len(classes)) for split, prefix in PREFIXES.items()}
    return pack(parts, out, classes=classes, source=source, valid=valid, force=force)


def _part(root: Path, prefix: str, classes: int) -> Part:
    """The pictures and labels of one official split, wherever below ``root`` its two files lie."""
    found = []
    for kind in ("images.idx3", "labels.idx1"):
        names = [f"{prefix}-{kind}-ubyte".replace(".", dot) for dot in "-."]
        paths = (p for name in names for end in ("", ".gz") for p in sorted(root.rglob(name + end)))
        if (path := next(paths, None)) is None:
            raise BadSetting(f"{root} does not look like MNIST: it should hold {names[0]} (or .gz)")
        found.append(read_idx(path))
    pictures, labels = found
    if pictures.ndim != 3 or labels.shape != pictures.shape[:1] or not len(labels):
        raise BadSetting(f"{root}: {labels.shape} labels do not belong to {pictures.shape} pictures")
    if labels.max() >= classes:
        raise BadSetting(f"{root}: a label is {labels.max()}, of {classes} classes")
    return Part(pictures[:, None], labels)
