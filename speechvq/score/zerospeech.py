"""Features as the ZeroSpeech challenges of 2019 and 2021 keep them: one file a recording.

2019: `english/test/S002_0379088085.txt`, a line a frame, numbers with spaces between (one-hot vectors, other
vectors, or one id a line); and a list `file seconds` of the files that the bitrate is of. 2021 and ABX-LS:
the folders of the recordings again, with `.npy` or `.txt` in place of `.wav`.
`speechvq.score.submission` describes and checks whole submissions.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from speechvq.errors import BadCodes, BadSetting
from speechvq.score.codes import bitrate
from speechvq.score.slices import Frames
from speechvq.score.streams import Stream
from speechvq.store.atomic import atomic

SUFFIXES = (".txt", ".npy")


def one_hot(stream: Stream) -> np.ndarray:
    """(T, K * codebook_size) uint8: the one-hot vectors of a stream's codes, the codebooks side by side.

    Raises:
        BadSetting: the stream does not say how large its codebooks are.
    """
    size = stream.codebook_size
    if size is None:
        raise BadSetting(f"one-hot vectors need the codebook size of {stream.name}")
    return np.eye(size, dtype=np.uint8)[stream.codes].reshape(len(stream), -1)


def write_features(path: str | Path, features: np.ndarray) -> None:
    """Write the frames of one recording, in the format that the suffix names.

    As text every number is the shortest that reads back as itself: with fewer digits vectors that
    differ would become equal, and the bitrate too small.

    Args:
        path: of the file; `.txt` or `.npy`.
        features: (T, D) numbers, or (T,) ids.

    Raises:
        BadSetting: another suffix or shape, or a number that is not finite.
    """
    path, features = Path(path), np.asarray(features)
    if path.suffix not in SUFFIXES:
        raise BadSetting(f"features are written as {' or '.join(SUFFIXES)}, not as {path.name}")
    rows = features[:, None] if features.ndim == 1 else features
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "iuf" or not np.isfinite(rows).all():
        raise BadSetting(
            f"features of {path.stem} must be finite numbers (T, D), not {features.dtype} {features.shape}"
        )
    with atomic(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, rows, allow_pickle=False)
        else:
            temporary.write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows.tolist()))


def read_features(path: str | Path) -> np.ndarray:
    """The frames of one recording, (T, D): int64 if all numbers in a text file are whole, else float64.

    A `.npy` file keeps its own type.

    Raises:
        BadCodes: the file is missing, is no such table or is empty; names file and line.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return _table(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise BadCodes(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadCodes(f"{path} cannot be read as text: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BadCodes(f"{path} is empty; it must have one line a frame")
    rows = [_line(path, number, line) for number, line in enumerate(lines, 1)]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise BadCodes(
                f"{path}, line {number}: {len(row)} numbers, but line 1 has {len(rows[0])}; every frame must "
                "have the same"
            )
    table = np.array(rows, dtype=np.float64)
    whole = "".join(lines).isascii() and not any(sign in line for line in lines for sign in ".eE")
    return table.astype(np.int64) if whole and np.abs(table).max() < 2**53 else table


def write_folder(
    folder: str | Path, features: Mapping[str, np.ndarray], *, suffix: str = ".txt"
) -> list[Path]:
    """Write one file a recording; the names may have folders in them (`dev-clean/84-121123-0000`).

    Raises:
        BadSetting: as `write_features`, or a name that leads out of the folder.
    """
    paths = []
    for name, rows in features.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadSetting(f"the name {name} leads out of the folder {folder}; give names inside of it")
        paths.append(Path(folder) / f"{name}{suffix}")
        write_features(paths[-1], rows)
    return paths


def read_folder(folder: str | Path, rate: float, *, suffix: str = ".txt", name: str = "features") -> Frames:
    """All features under a folder, ready for `abx_frames`; named by their paths in it, without suffix.

    Raises:
        BadCodes: there are none, or one cannot be read.
    """
    folder = Path(folder)
    paths = sorted(folder.rglob(f"*{suffix}"))
    if not paths:
        raise BadCodes(f"there are no {suffix} files under {folder}")
    found = {path.relative_to(folder).as_posix().removesuffix(suffix): read_features(path) for path in paths}
    return Frames(found, rate, name)


def read_bitrate_list(path: str | Path) -> dict[str, float]:
    """Name of a file (with `.txt`) to the seconds of its recording.

    Raises:
        BadCodes: the list is missing or empty, or a line is not `file seconds`.
    """
    path, seconds = Path(path), {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCodes(f"the list {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            (file, duration) = words[0], float(words[1])
            if len(words) != 2 or not 0 < duration < float("inf"):
                raise ValueError
        except (IndexError, ValueError) as error:
            raise BadCodes(f"{path}, line {number}: {line!r} is not `file seconds`") from error
        seconds[file] = duration
    if not seconds:
        raise BadCodes(f"the list {path} is empty; it must have lines `file seconds`")
    return seconds


def write_bitrate_list(path: str | Path, seconds: Mapping[str, float]) -> None:
    """Write lines `file seconds`, six decimals as in the challenge's own lists."""
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{file} {value:.6f}\n" for file, value in seconds.items()))


def folder_bitrate(folder: str | Path, seconds: Mapping[str, float]) -> float:
    """Bit/s of a folder of `.txt` features, (N / D) H: by the rule of 2019 over the files of a list.

    Files of the list that are not in the folder are passed over, with their seconds.

    Raises:
        BadCodes: none of them is there, or one cannot be read.
    """
    there = [file for file in seconds if (Path(folder) / file).is_file()]
    if not there:
        raise BadCodes(f"not one of the {len(seconds)} files of the bitrate list is in {folder}")
    ids = _numbered(read_features(Path(folder) / file) for file in there)
    return bitrate(ids, sum(seconds[file] for file in there))


def _numbered(tables: Iterable[np.ndarray]) -> torch.Tensor:
    """(N,) a number for each line; lines are equal when all their numbers are."""
    known: dict[tuple[float, ...], int] = {}
    return torch.tensor(
        [known.setdefault(tuple(row), len(known)) for table in tables for row in table.tolist()]
    )


def _line(path: Path, number: int, line: str) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError as error:
        raise BadCodes(f"{path}, line {number}: {error}; a frame is numbers with spaces between") from error
    if not row or not np.isfinite(row).all():
        raise BadCodes(f"{path}, line {number}: every frame must have finite numbers, not {line.strip()!r}")
    return row


def _table(path: Path) -> np.ndarray:
    try:
        table = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise BadCodes(f"{path} is missing") from error
    except (OSError, ValueError, EOFError) as error:
        raise BadCodes(f"{path} is not a table of numbers as numpy saves it: {error}") from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or not table.size:
        raise BadCodes(
            f"{path} must be a table (frames, numbers), not {getattr(table, 'shape', 'an archive')}"
        )
    if table.dtype.kind not in "iuf" or not np.isfinite(table).all():
        raise BadCodes(f"{path} must have finite numbers only")
    return table
