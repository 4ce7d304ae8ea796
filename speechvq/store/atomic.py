"""A file appears whole or not at all: write beside it, flush to disk, then rename."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speechvq.errors import BadSetting, WouldOverwrite


@contextmanager
def atomic(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it becomes ``path``, on failure it goes.

    The temporary name keeps the suffix, because writers choose the format by it. Missing folders are
    made. With ``force=False`` a file that is already there stays as it is.

    Raises:
        WouldOverwrite: ``path`` exists and ``force`` is False (asked before and after the writing).
        BadSetting: ``path`` is a folder.
    """
    path = Path(path)
    refuse(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:80]}.{uuid.uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        refuse(path, force=force)
        temporary.replace(path)
        _flush(path.parent)
    finally:  # also on KeyboardInterrupt and a full disk; after the rename there is nothing to remove
        with suppress(OSError):
            temporary.unlink()


def refuse(path: str | Path, *, force: bool) -> None:
    """Raise now what `atomic` would raise later, so that long work does not end in a refusal."""
    path = Path(path)
    if path.is_dir():
        raise BadSetting(f"{path} is a folder; give the name of a file to write")
    if not force and path.exists():
        raise WouldOverwrite(path)


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk (some systems cannot do it for folders)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
