"""Finding files in a corpus of any modality, and deciding which of its items are held out."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from speechvq.errors import BadSetting


def files_under(folder: Path, *, suffixes: Sequence[str]) -> Iterator[Path]:
    """Files with one of the lower-case suffixes, in order of their names; links to folders are followed once.

    Raises:
        BadSetting: ``folder`` is not a folder.
    """
    if not folder.is_dir():
        raise BadSetting(f"there is no folder {folder}")
    seen = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        inside.sort()
        real = os.path.realpath(place)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(place) / name


def text_of(path: Path) -> str | None:
    """The words in a small text file, on one line; None if it is missing, empty or not UTF-8."""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split()) or None
    except (OSError, UnicodeDecodeError):
        return None


def hold_out(utterances: Iterable[str], *, valid: float, test: float, seed: int) -> dict[str, str]:
    """The split of every utterance id: equal ids, said by whichever voice, are always in one split.

    Each id has a place in [0, 1) by its hash with the seed; the lowest ``test`` of that range is the
    test, the next ``valid`` the validation split, so new recordings do not move old ones. A split that
    is asked for but would be empty takes the id next to it (from three ids on).
    """
    places = sorted((fraction(f"{seed}/{name}"), name) for name in set(utterances))
    tested = sum(place < test for place, _ in places)
    held = sum(place < test + valid for place, _ in places)
    if len(places) > 2:
        tested = max(tested, int(test > 0))
        held = max(held, tested + int(valid > 0))
    names = [name for _, name in places]
    splits = dict.fromkeys(names[:tested], "test") | dict.fromkeys(names[tested:held], "valid")
    return splits | dict.fromkeys(names[held:], "train")


def fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone (SHA-1)."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:6], "big") / 2**48


def inside(root: Path, folders: Sequence[str], *, corpus: str, layout: str) -> Path:
    """The first of the ``folders`` in ``root`` or up to two levels below, whatever the case of its letters.

    So it does not matter whether a person names the folder that was unpacked or the one around it.

    Raises:
        BadSetting: there is none; the sentence says what the corpus should look like.
    """
    wanted = [name.lower() for name in folders]
    level = [root] if root.is_dir() else []
    for _ in range(3):
        below = [path for place in level for path in sorted(place.iterdir()) if path.is_dir()]
        for name in wanted:
            for path in below:
                if path.name.lower() == name:
                    return path
        level = below
    raise BadSetting(f"{root} does not look like {corpus}: it should hold {layout}")
