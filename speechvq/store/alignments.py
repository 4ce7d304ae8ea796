"""Which phone is spoken when: every common file of phone times, as intervals of the entries of a manifest.

`read_alignment` reads one file; `align_entries` finds the intervals of each entry, from the files that the
manifest names, a folder of files, or one file about many recordings (Kaldi's ctm, CPC).
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechvq.errors import BadAlignment
from speechvq.store.folding import SILENCE, Folding
from speechvq.store.intervals import Interval, phones_at
from speechvq.store.manifest import Entry
from speechvq.store.phone_files import MANY, format_of, read_many, read_one
from speechvq.store.textgrid import choose_tier, read_textgrid, write_textgrid

ALIGNMENT_SUFFIXES = (".textgrid", ".phn", ".phones")
"""Files of a folder that can hold the phones of the recording with the same name; the first counts."""
__all__ = [
    "ALIGNMENT_SUFFIXES", "SILENCE", "Folding", "Interval", "align_entries", "phones_at", "read_alignment",
    "write_textgrid",
]  # fmt: skip
log = logging.getLogger(__name__)


def read_alignment(
    path: str | Path, *, tier: str | None = None, sample_rate: int = 16000, utterance: str | None = None
) -> tuple[Interval, ...]:
    """The phones of one recording, in order, with the labels of the file.

    Args:
        path: a TextGrid, TIMIT .PHN, Buckeye .phones, ``start end phone``, ctm or CPC file, known by its
            suffix and its first lines.
        tier: of a TextGrid; None takes the one that is called "phones" or the like.
        sample_rate: Hz of the sound, for TIMIT, which counts samples.
        utterance: of a file about many recordings; None if it holds only one.

    Raises:
        BadAlignment: the file or a line of it cannot be used; the sentence says which and why.
    """
    path = Path(path)
    kind = format_of(path)
    if kind == "textgrid":
        tiers = read_textgrid(path)
        return tiers[choose_tier(path, list(tiers), tier)]
    if kind not in MANY:
        return read_one(path, kind, sample_rate)
    found = read_many(path, kind, None if utterance is None else {utterance})
    if len(found) != 1:
        what = f"{len(found)} recordings; name one" if utterance is None else f"no utterance {utterance!r}"
        raise BadAlignment(f"{path} holds {what}")
    return next(iter(found.values()))


def align_entries(
    entries: Sequence[Entry],
    source: str | Path | None = None,
    *,
    folding: Folding | None = None,
    tier: str | None = None,
    sample_rate: int = 16000,
) -> dict[int, tuple[Interval, ...]]:
    """The phones of each entry, in seconds from the start of the entry's part and clipped to it.

    Args:
        entries: of a manifest. Files count from the start of the audio file, whatever part the entry is.
        source: None takes the file that each entry names; a folder is searched for files called like the
            recording or the utterance (``<name>.TextGrid`` ..., in a folder called like the speaker if
            several have the name); a ctm or CPC file is asked for these names.
        folding: what is done to the labels; None is ``Folding()``.
        tier: of TextGrids; None takes the one that holds phones.
        sample_rate: Hz of the sound, for TIMIT.

    Returns:
        Place of the entry to its intervals. Entries without an alignment, and those whose part has no
        phone, are left out (and counted in the log).

    Raises:
        BadAlignment: a file cannot be used, could belong to several, or ``source`` has none of the entries.
    """
    folding = folding or Folding()
    places: dict[int, Path] = _named(entries) if source is None else _found(entries, Path(source))
    at_path: dict[Path, list[int]] = defaultdict(list)
    for index, path in places.items():
        at_path[path].append(index)
    aligned: dict[int, tuple[Interval, ...]] = {}
    for path, indices in at_path.items():
        for index, intervals in _of_file(path, indices, entries, tier, sample_rate):
            part = _part(folding.fold(intervals), entries[index])
            if part:
                aligned[index] = part
    if source is not None and entries and not aligned:
        names = " or ".join(map(repr, _names(entries[0])))
        raise BadAlignment(f"{source} has no phone times of these recordings, which it should call {names}")
    if places and len(aligned) < len(entries):
        log.warning("%d of %d recordings have no phone times", len(entries) - len(aligned), len(entries))
    return dict(sorted(aligned.items()))


def _of_file(
    path: Path, indices: Sequence[int], entries: Sequence[Entry], tier: str | None, sample_rate: int
) -> Iterator[tuple[int, tuple[Interval, ...]]]:
    """The intervals of those entries in a file, which is read once."""
    kind = format_of(path)
    if kind not in MANY:
        intervals = read_alignment(path, tier=tier, sample_rate=sample_rate)
        yield from ((index, intervals) for index in indices)
        return
    names = {index: _names(entries[index]) for index in indices}
    found = read_many(path, kind, {name for several in names.values() for name in several})
    for index, several in names.items():
        name = next((name for name in several if name in found), None)
        if name is not None:
            yield index, found[name]


def _named(entries: Sequence[Entry]) -> dict[int, Path]:
    return {at: Path(e.alignment) for at, e in enumerate(entries) if e.alignment is not None}


def _found(entries: Sequence[Entry], source: Path) -> dict[int, Path]:
    """Which file each entry is to be looked up in."""
    if not source.exists():
        raise BadAlignment(f"there is no file or folder {source} with phone times")
    if not source.is_dir():
        if len(entries) > 1 and format_of(source) not in MANY:
            raise BadAlignment(f"{source} holds the phones of one recording, not of {len(entries)}")
        return dict.fromkeys(range(len(entries)), source)
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in ALIGNMENT_SUFFIXES and path.is_file():
            files[path.stem.lower()].append(path)
    chosen = {at: _beside(entry, files, source) for at, entry in enumerate(entries)}
    return {at: path for at, path in chosen.items() if path is not None}


def _beside(entry: Entry, files: Mapping[str, Sequence[Path]], source: Path) -> Path | None:
    """The one file that is called like the entry."""
    names = (name.lower() for name in _names(entry))
    several = next((files[name] for name in names if name in files), [])
    best = min((ALIGNMENT_SUFFIXES.index(path.suffix.lower()) for path in several), default=0)
    several = [path for path in several if path.suffix.lower() == ALIGNMENT_SUFFIXES[best]]
    if len(several) > 1:
        speaker = entry.speaker.lower()
        several = [
            path for path in several if speaker in map(str.lower, path.relative_to(source).parts[:-1])
        ] or several
    if len(several) > 1:
        raise BadAlignment(
            f"{several[0]} and {several[1]} could both be the phones of {entry.path} "
            f"(speaker {entry.speaker}); put the files of each speaker in a folder of that name"
        )
    return several[0] if several else None


def _names(entry: Entry) -> list[str]:
    """What other tools may call a recording, the likeliest first."""
    path, last = Path(entry.path), entry.utterance.rpartition("/")[2]
    joined = (f"{entry.speaker}{mark}{last}" for mark in "-_")
    stems = path.stem, path.name.split(".")[0]  # SX37.WAV.wav is SX37
    return list(dict.fromkeys((*stems, entry.utterance, last, *joined)))


def _part(intervals: Sequence[Interval], entry: Entry) -> tuple[Interval, ...]:
    """Shifted to the start of the entry's part and clipped to its length."""
    cut = float((entry.processing or {}).get("cut", 0.0))  # a copy that begins inside the original
    shift, length = entry.start + cut, entry.duration
    moved = (Interval(i.label, max(i.start - shift, 0.0), min(i.end - shift, length)) for i in intervals)
    return tuple(i for i in moved if i.end > i.start)
