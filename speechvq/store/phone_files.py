"""Phone times as lines of text: TIMIT, Buckeye, ``start end phone``, Kaldi's ctm, the frames of CPC.

========  ============================================================  =========================
format    a line                                                        known by
========  ============================================================  =========================
timit     ``start end phone``, in samples                               its suffix .phn (or .wrd)
esps      Buckeye: ``end colour label; ...`` in s, after a line ``#``   the line ``#`` or "signal"
times     ``start end phone`` in s; ``# ...`` is a remark               two numbers first
ctm       Kaldi: ``utterance channel start duration label [...]`` in s  its suffix, or its numbers
cpc       ``utterance label label ...``, a label every 10 ms (Riviere   whole numbers after a name
          et al. 2020, ``converted_aligned_phones.txt``)
========  ============================================================  =========================
"""

import logging
from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path

from speechvq.errors import BadAlignment, BadSetting
from speechvq.store.intervals import Interval, Row, in_order

CPC_STEP = 0.01  # seconds
HEAD = 8192  # bytes from which the format is known
MANY = ("ctm", "cpc")  # formats with the phones of many recordings in one file
SUFFIXES = {".textgrid": "textgrid", ".phn": "timit", ".wrd": "timit", ".ctm": "ctm"}
log = logging.getLogger(__name__)


def format_of(path: Path) -> str:
    """One of textgrid, timit, esps, times, ctm, cpc; from the suffix, else from the first lines.

    Raises:
        BadAlignment: the file cannot be read, is empty, or is in none of these formats.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise BadAlignment(f"{path} cannot be read as phone times: {error.strerror or error}") from error
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    if b"ooTextFile" in head.replace(b"\0", b""):
        return "textgrid"
    lines = [line.split() for line in head.decode("utf-8", "replace").lstrip("\ufeff").splitlines()]
    if ["#"] in lines or (lines and lines[0][:1] == ["signal"]):
        return "esps"
    first = next((words for words in lines if words and not words[0].startswith(("#", ";;"))), [])
    kind = _kind_of_line(first[: -1 if len(head) == HEAD and len(first) > 9 else None])
    if kind is None:
        raise BadAlignment(
            f"{path} is in none of the known formats of phone times: TextGrid, TIMIT .PHN, Buckeye .phones, "
            "lines 'start end phone', Kaldi ctm, CPC frames"
        )
    return kind


def _kind_of_line(words: list[str]) -> str | None:
    if len(words) >= 3 and _is_number(words[0]) and _is_number(words[1]):
        return "times"
    if len(words) >= 5 and _is_number(words[2]) and _is_number(words[3]) and "." in words[2] + words[3]:
        return "ctm"
    if len(words) >= 2 and all(word.isdecimal() for word in words[1:]):
        return "cpc"
    return None


def read_one(path: Path, kind: str, sample_rate: int) -> tuple[Interval, ...]:
    """The intervals of a file about one recording: format timit (in samples at this rate), esps or times.

    Raises:
        BadAlignment: a line cannot be read, or its times cannot be.
        BadSetting: the sample rate is not above 0.
    """
    if not sample_rate > 0:
        raise BadSetting(f"a sample rate must be above 0, not {sample_rate}")
    rows = list(_buckeye(path) if kind == "esps" else _three(path, kind, sample_rate))
    if not rows:
        raise BadAlignment(f"{path} holds no phone times")
    return in_order(path, rows)


def read_many(
    path: Path, kind: str, wanted: Collection[str] | None = None
) -> dict[str, tuple[Interval, ...]]:
    """The intervals of the ``wanted`` utterances (None: of all) in a ctm or CPC file, by utterance.

    Raises:
        BadAlignment: a line cannot be read, or its times cannot be.
    """
    if kind == "cpc":
        return {name: in_order(path, rows) for name, rows in _cpc(path, wanted)}
    found: dict[str, list[Row]] = {}
    for number, line in _lines(path):
        words = line.split()
        if not words or words[0].startswith((";;", "#")) or (wanted is not None and words[0] not in wanted):
            continue
        if len(words) < 5 or not (_is_number(words[2]) and _is_number(words[3])):
            raise _wrong(path, number, line, "'utterance channel start duration label' in seconds")
        start, length = float(words[2]), float(words[3])
        found.setdefault(words[0], []).append(Row(number, words[4], start, start + length))
    # The two channels of a telephone call, and phones of several threads, are not always sorted.
    return {name: in_order(path, sorted(rows, key=lambda row: row.start)) for name, rows in found.items()}


def _three(path: Path, kind: str, sample_rate: int) -> Iterator[Row]:
    """Lines of start, end, label."""
    for number, line in _lines(path):
        words = line.split(maxsplit=2)
        if not words or (words[0].startswith("#") and kind == "times"):
            continue
        if len(words) < 3 or not (_is_number(words[0]) and _is_number(words[1])):
            unit = "samples" if kind == "timit" else "seconds"
            raise _wrong(path, number, line, f"'start end phone' in {unit}")
        if kind == "timit" and not (words[0].isdecimal() and words[1].isdecimal()):
            raise _wrong(path, number, line, "whole samples (times in seconds belong in another suffix)")
        start, end = float(words[0]), float(words[1])
        scale = sample_rate if kind == "timit" else 1
        yield Row(number, words[2].strip(), start / scale, end / scale)


def _buckeye(path: Path) -> Iterator[Row]:
    """After the header, lines of end and label; each starts where the one above ends."""
    body, start, wrong = False, 0.0, []
    for number, line in _lines(path):
        words = line.split(";")[0].split(maxsplit=2)
        if not body or not words:
            body = body or line.strip() == "#"
            continue
        if len(words) < 2 or not _is_number(words[0]):
            raise _wrong(path, number, line, "'end colour label'")
        end = float(words[0])
        if end < start:  # the corpus has a few of these
            wrong.append(number)
            continue
        yield Row(number, words[2].strip() if len(words) > 2 else "", start, end)
        start = end
    if wrong:
        log.warning("%s: line %d goes back in time and is left out (%d such)", path, wrong[0], len(wrong))


def _cpc(path: Path, wanted: Collection[str] | None) -> Iterator[tuple[str, list[Row]]]:
    """Each utterance with its runs of equal labels."""
    for number, line in _lines(path):
        name, _, rest = line.strip().partition(" ")
        if not name or (wanted is not None and name not in wanted):
            continue
        rows, at = [], 0
        for label, run in groupby(rest.split()):
            if not label.isdecimal():
                raise _wrong(path, number, label, "whole numbers after the utterance, a phone every 10 ms")
            length = len(list(run))
            rows.append(Row(number, label, at * CPC_STEP, (at + length) * CPC_STEP))
            at += length
        yield name, rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, from 1."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from enumerate(file, 1)
    except UnicodeDecodeError as error:
        raise BadAlignment(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise BadAlignment(f"{path} cannot be read as phone times: {error.strerror or error}") from error


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _wrong(path: Path, number: int, line: str, expected: str) -> BadAlignment:
    return BadAlignment(f"{path}, line {number}: {line.strip()[:60]!r} should be {expected}")
