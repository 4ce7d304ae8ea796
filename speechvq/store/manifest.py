"""The list of recordings that a run works on: one JSON object a line, one recording (or part) each.

Paths inside a manifest's folder are written relative to that folder, so the two can be moved
together; in memory they are absolute.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from speechvq.errors import BadManifest
from speechvq.store.atomic import atomic

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Entry:
    """One recording, or the part ``start .. start + duration`` of one; times in seconds.

    Raises:
        BadManifest: a field has the wrong type or an impossible value.
    """

    path: str  # the audio file
    start: float  # where the part begins, >= 0
    duration: float  # how long it is, > 0
    speaker: str  # the voice's name
    utterance: str  # what was said, by id: equal ids in two voices are parallel recordings
    split: str  # train, valid or test
    text: str | None = None  # the words
    alignment: str | None = None  # file with phone times (`start end phone`, TIMIT .PHN or TextGrid)
    processing: dict[str, Any] | None = None  # what was done to the sound before it was stored

    def __post_init__(self) -> None:
        for name in ("path", "speaker", "utterance", "split"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise BadManifest(f"{name} must be a text that is not empty, not {value!r}")
        for name in ("start", "duration"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise BadManifest(f"{name} must be a number of seconds, not {value!r}")
        if self.start < 0 or self.duration <= 0:
            raise BadManifest(f"start {self.start} must be at least 0 and duration {self.duration} above 0")
        if self.split not in SPLITS:
            raise BadManifest(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        for name in ("text", "alignment"):
            if not isinstance(getattr(self, name), str | None):
                raise BadManifest(f"{name} must be a text or null, not {getattr(self, name)!r}")
        if not isinstance(self.processing, dict | None):
            raise BadManifest(f"processing must be an object or null, not {self.processing!r}")


def read_manifest(path: str | Path) -> list[Entry]:
    """Every entry of a manifest, in order, with absolute paths; blank lines are passed over.

    Raises:
        BadManifest: the file is missing, empty or not text, or a line is wrong; names file and line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise BadManifest(f"there is no manifest {path}; `speechvq prepare` makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadManifest(f"{path} cannot be read as a manifest (JSON lines in UTF-8): {error}") from error
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 (resolve() would follow links)
    entries = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entries.append(_entry(line, folder))
            except BadManifest as error:
                raise BadManifest(f"{path}, line {number}: {error}") from error
    if not entries:
        raise BadManifest(f"{path} has no entries")
    return entries


def write_manifest(path: str | Path, entries: Iterable[Entry], *, force: bool = False) -> None:
    """Write the entries to ``path``, whole or not at all.

    Raises:
        WouldOverwrite: ``path`` exists and ``force`` is False.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100
    with atomic(path, force=force) as temporary, temporary.open("w", encoding="utf-8") as file:
        for entry in entries:
            alignment = None if entry.alignment is None else _relative(entry.alignment, folder)
            stored = replace(entry, path=_relative(entry.path, folder), alignment=alignment)
            values = {k: v for k, v in asdict(stored).items() if v is not None}
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


def _entry(line: str, folder: Path) -> Entry:
    try:
        values = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadManifest(f"not JSON ({error})") from error
    if not isinstance(values, dict):
        raise BadManifest("not a JSON object")
    known = [f.name for f in fields(Entry)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadManifest(f"unknown field {unknown[0]!r}; known: {', '.join(known)}")
    missing = [name for name in known[:6] if name not in values]
    if missing:
        raise BadManifest(f"field {missing[0]!r} is missing")
    entry = Entry(**values)
    alignment = None if entry.alignment is None else str(folder / entry.alignment)
    return replace(entry, path=str(folder / entry.path), alignment=alignment)


def _relative(path: str, folder: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return str(absolute)
