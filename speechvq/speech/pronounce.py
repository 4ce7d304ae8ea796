"""English text to the words of a pronouncing dictionary, and more words for it from a file."""

import re
from collections.abc import Callable
from pathlib import Path

from speechvq.errors import BadAlignment, UnknownWords

PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
)
"""The 39 phones of the CMU dictionary, without stress."""
type Spell = Callable[[str], str]
"""Written words to plain spoken ones: "25%" to "twenty five percent", "colour" to "color"."""
WRITTEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*'?|[\W\d_]*\d[\W\d_]*")
REMARK = re.compile(r"\[[^]]*\]|\([^)]*\)")  # (laughs), [music]
SPELT = re.compile(r"[\d%&+@$£€]")  # what is spoken in other words than it is written


def words_of(text: str, known: Callable[[str], bool], spell: Spell | None = None) -> list[str]:
    """The text as words that the dictionary has, in lower case.

    Args:
        text: written English; punctuation separates words, apostrophes belong to them, what
            is in brackets is not spoken.
        known: whether the dictionary has a word.
        spell: asked for numbers and signs, and for words that are not known; None: nothing is.

    Raises:
        UnknownWords: the dictionary does not have some; all of them are named.
    """
    words, unknown = [], []
    for chunk in REMARK.sub(" ", text).replace("’", "'").lower().split():
        plain = spell(chunk) if spell and SPELT.search(chunk) else chunk
        for word in WRITTEN.findall(plain):
            found = _look_up(word, known, spell)
            words += found or []
            unknown += [word] if found is None else []
    if unknown:
        raise UnknownWords(tuple(dict.fromkeys(unknown)))
    return words


def _look_up(word: str, known: Callable[[str], bool], spell: Spell | None) -> list[str] | None:
    for form in (word, word.rstrip("'")):
        if known(form):
            return [form]
    spelt = spell(word).split() if spell else []
    return spelt if spelt and all(map(known, spelt)) else None


def read_dictionary(path: str | Path) -> dict[str, list[tuple[str, ...]]]:
    """Words with their pronunciations, from lines ``word PHONE PHONE ...`` like those of the CMU dictionary.

    Stress digits go; ``word(2)`` is a second pronunciation; lines that begin with ``;;;`` or ``#`` are
    remarks.

    Raises:
        BadAlignment: the file cannot be read, or a line is no word with phones of `PHONES`.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadAlignment(f"{path} cannot be read as a pronouncing dictionary: {error}") from error
    found: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith((";;;", "#")):
            continue
        word, *phones = line.split()
        phones = [phone.upper().rstrip("012") for phone in phones]
        wrong = [phone for phone in phones if phone not in PHONES.split()]
        if wrong or not phones:
            what = f"has the phone {wrong[0]}, which is not one of" if wrong else "has no phones; they are"
            raise BadAlignment(f"{path}, line {number}: {word!r} {what} {PHONES}")
        found.setdefault(re.sub(r"\(\d+\)$", "", word.lower()), []).append(tuple(phones))
    return found
