"""Item files: which stretch of which recording is an example of which phone, for ABX.

The format is that of ABXpy and of the ZeroSpeech challenges of 2017 and 2021 and ABX-LS: a header
`#file onset offset #phone prev-phone next-phone speaker`, then one example a line. Two kinds of
example can be made from an alignment: the phone alone, and the triphone, which is the phone together
with its neighbours (the pair to tell apart then differs in the middle phone only).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from speechvq.errors import BadAlignment, BadSetting
from speechvq.score.streams import Stream
from speechvq.store.atomic import atomic
from speechvq.store.folding import SILENCE, SILENCES
from speechvq.store.intervals import Interval

HEADER = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
TOUCHING = 1e-4  # seconds: phones with a longer gap between them are not neighbours
Kind = Literal["triphone", "phoneme"]
_ALIASES = {"#filename": "#file", "#item": "#file", "phone": "#phone", "talker": "speaker"}


@dataclass(frozen=True)
class Item:
    """One example of a phone.

    Attributes:
        file: name of the recording, as a path without suffix relative to the folder of features.
        onset: where the example begins, in seconds; in a triphone, where the previous phone begins.
        offset: where it ends, in seconds.
        phone: what it is an example of.
        previous: the phone before; with several, all of the context before.
        following: the phone after.
        speaker: whose voice it is.
    """

    file: str
    onset: float
    offset: float
    phone: str
    previous: str
    following: str
    speaker: str


def read_items(path: str | Path) -> list[Item]:
    """The examples of an item file, in its order.

    Columns are found by their names. Where one column `context` stands for the neighbours, as in some
    item files of 2015, all of it is taken as what comes before.

    Raises:
        BadAlignment: the file is missing, is a compiled ABXpy task, or has a wrong header or line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadAlignment(f"there is no item file {path} ({error.strerror})") from error
    if raw.startswith(b"\x89HDF"):
        raise BadAlignment(
            f"{path} is a task that ABXpy compiled (HDF5); give the .item file that it was made from"
        )
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadAlignment(f"{path} is not an item file: it is not text in UTF-8") from error
    places = _columns(path, lines[0].split() if lines else [])
    items = [
        _item(path, number, line.split(), places) for number, line in enumerate(lines[1:], 2) if line.strip()
    ]
    if not items:
        raise BadAlignment(f"{path} has a header but no items; give the whole item file")
    return items


def write_items(path: str | Path, items: Iterable[Item]) -> None:
    """Write an item file that `read_items`, ABXpy, libri-light and fastabx read.

    Raises:
        BadSetting: a name is empty or has a space in it, which the format cannot hold.
    """
    lines = [" ".join(HEADER)]
    for item in items:
        words = (item.file, item.phone, item.previous, item.following, item.speaker)
        for word in words:
            if not word or word.split() != [word]:
                raise BadSetting(f"an item file cannot hold the name {word!r}: it is empty or has a space")
        times = (written(item.onset), written(item.offset))
        lines.append(" ".join((item.file, *times, *words[1:])))
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_items(
    alignments: Mapping[str, Sequence[Interval]],
    speakers: Mapping[str, str],
    kind: Kind = "triphone",
    *,
    silences: Iterable[str] = (*SILENCES, SILENCE),
    shortest: float = 0.04,
) -> list[Item]:
    """Examples of every phone of some recordings.

    Silence, a gap between phones and the ends of the recording are no phones: they are never examples
    and never part of a triphone; in the context of a phoneme they are written `SIL`.

    Args:
        alignments: file name to its phones, in order, in seconds.
        speakers: file name to speaker.
        kind: "triphone" (from the start of the previous to the end of the next phone) or "phoneme".
        silences: labels, in any case, that are not speech.
        shortest: seconds; shorter examples are left out. In 40 ms lies the centre of at least one frame
            at 25 Hz and above, and of two at 50 Hz, of which the rule of libri-light drops one.

    Raises:
        BadSetting: another kind, or a file without a speaker.
    """
    if kind not in ("triphone", "phoneme"):
        raise BadSetting(f"items are of the kind triphone or phoneme, not {kind!r}")
    quiet, items = {label.lower() for label in silences}, []
    for file, intervals in alignments.items():
        if file not in speakers:
            raise BadSetting(f"the speaker of {file} is not given")
        for place, interval in enumerate(intervals):
            before, after = _neighbour(intervals, place, -1, quiet), _neighbour(intervals, place, 1, quiet)
            if interval.label.lower() in quiet:
                continue
            onset, offset = interval.start, interval.end
            if kind == "triphone":
                if before is None or after is None:
                    continue
                onset, offset = before.start, after.end
            if offset - onset < shortest - 1e-9:
                continue
            previous, following = (SILENCE if phone is None else phone.label for phone in (before, after))
            times = round(onset, 6), round(offset, 6)
            items.append(Item(file, times[0], times[1], interval.label, previous, following, speakers[file]))
    return items


def stream_items(streams: Sequence[Stream], kind: Kind = "triphone", *, shortest: float = 0.04) -> list[Item]:
    """`make_items` of the streams whose phones are known."""
    known = {stream.name: stream.phones for stream in streams if stream.phones is not None}
    return make_items(known, {stream.name: stream.speaker for stream in streams}, kind, shortest=shortest)


def written(seconds: float) -> str:
    """A time as the shortest decimal that reads back as the same number, without an exponent."""
    return format(Decimal(repr(float(seconds))), "f")


def _neighbour(intervals: Sequence[Interval], place: int, step: int, quiet: set[str]) -> Interval | None:
    """The phone that touches the one at ``place``, if it is speech."""
    if not 0 <= place + step < len(intervals):
        return None
    here, other = intervals[place], intervals[place + step]
    gap = other.start - here.end if step > 0 else here.start - other.end
    return None if gap > TOUCHING or other.label.lower() in quiet else other


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each column is."""
    places = {_ALIASES.get(name, name): place for place, name in enumerate(header)}
    wanted = [name for name in HEADER if name not in ("prev-phone", "next-phone")]
    wanted += ["context"] if "context" in places else ["prev-phone", "next-phone"]
    missing = [name for name in wanted if name not in places]
    if missing:
        raise BadAlignment(f"{path} is not an item file: its first line must name {', '.join(missing)}")
    return places


def _item(path: Path, number: int, words: Sequence[str], places: Mapping[str, int]) -> Item:
    if len(words) != len(places):
        raise BadAlignment(
            f"{path}, line {number}: {len(words)} values where the header has {len(places)} columns"
        )
    onset = _seconds(path, number, "onset", words[places["onset"]])
    offset = _seconds(path, number, "offset", words[places["offset"]])
    if not 0 <= onset < offset:
        raise BadAlignment(
            f"{path}, line {number}: an item must end after it starts, not last from {onset} to {offset} s"
        )
    file, phone, speaker = (words[places[name]] for name in ("#file", "#phone", "speaker"))
    if "context" in places:
        return Item(file, onset, offset, phone, words[places["context"]], "-", speaker)
    previous, following = (words[places[name]] for name in ("prev-phone", "next-phone"))
    return Item(file, onset, offset, phone, previous, following, speaker)


def _seconds(path: Path, number: int, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadAlignment(f"{path}, line {number}: the {name} {word!r} is not a number of seconds")
    return value
