"""Praat's TextGrid: tiers of labelled intervals, in the long and the short text format.

Praat reads both by one rule (manual, "TextGrid file formats"): only free-standing numbers, texts in double
quotes and flags in angle brackets count; everything else (``xmin =``, ``intervals [3]:``) is for the eye.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechvq.errors import BadAlignment, BadSetting
from speechvq.store.atomic import atomic
from speechvq.store.intervals import Interval, Row, in_order

PHONE_TIERS = ("phones", "phone", "phonemes", "segments", "mau")  # MFA, prosodylab, WebMAUS
TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"'
    r"|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)"
    r"|(?<!\S)<(?P<flag>exists|absent)>"
    r"|(?<!\S)!.*"  # a comment
)
_ROUNDING = 1e-6  # seconds by which a tier may pass the end of the recording


class _Tokens:
    """The numbers, texts and flags of a file, one after the other."""

    def __init__(self, path: Path, content: str) -> None:
        self.path, self.content, self.at = path, content, 0
        self.found: Iterator[re.Match[str]] = (m for m in TOKEN.finditer(content) if m.lastgroup)

    @property
    def line(self) -> int:
        return self.content.count("\n", 0, self.at) + 1

    def next(self, kind: str, what: str) -> str:
        """The next token, which must be a ``text``, a ``number`` or a ``flag``."""
        match = next(self.found, None)
        if match is None:
            raise BadAlignment(f"{self.path} ends before {what}; it may be cut off")
        self.at = match.start()
        if match.lastgroup != kind:
            raise BadAlignment(f"{self.path}, line {self.line}: {what} should be here, not {match[0][:40]!r}")
        return match[kind].replace('""', '"')

    def count(self, what: str) -> int:
        number = self.next("number", what)
        if not number.isdecimal():
            raise BadAlignment(f"{self.path}, line {self.line}: {what} cannot be {number}")
        return int(number)


def read_textgrid(path: str | Path) -> dict[str, tuple[Interval, ...]]:
    """The tiers of intervals by name, in order, with their empty labels; tiers of points are passed over.

    UTF-8 or UTF-16, long or short. Of tiers with equal names the first counts.

    Raises:
        BadAlignment: the file cannot be read, is no text TextGrid, or its intervals are out of order.
    """
    path = Path(path)
    tokens = _Tokens(path, _text(path))
    for name in ("ooTextFile", "TextGrid"):
        if not tokens.next("text", f'"{name}"').startswith(name):
            raise BadAlignment(f'{path} is not a TextGrid in Praat\'s text format: it does not say "{name}"')
    tokens.next("number", "the start of the grid")
    tokens.next("number", "the end of the grid")
    tiers: dict[str, tuple[Interval, ...]] = {}
    if tokens.next("flag", "<exists>") == "absent":
        return tiers
    for _ in range(tokens.count("the number of tiers")):
        kind, name = tokens.next("text", "the class of a tier"), tokens.next("text", "the name of a tier")
        tokens.next("number", "the start of a tier")
        tokens.next("number", "the end of a tier")
        size = tokens.count("the size of a tier")
        if kind == "IntervalTier":
            tiers.setdefault(name, in_order(path, [_interval(tokens) for _ in range(size)]))
            continue
        for _ in range(size):
            tokens.next("number", "the time of a point")
            tokens.next("text", "the mark of a point")
    return tiers


def choose_tier(path: object, names: Sequence[str], wanted: str | None) -> str:
    """The tier of that name or, for None, the one that holds the phones.

    Raises:
        BadAlignment: there is none, or it could be several; the sentence lists them.
    """
    known = ", ".join(map(repr, names)) or "none"
    if wanted is not None:
        if wanted not in names:
            raise BadAlignment(f"{path} has no tier of intervals called {wanted!r}; it has {known}")
        return wanted
    # With several speakers MFA calls the tiers "<speaker> - phones".
    phones = [name for name in names if name.rpartition(" - ")[2].strip().lower() in PHONE_TIERS] or names
    if len(phones) != 1:
        raise BadAlignment(f"{path} does not say which tier holds the phones; name one of its tiers: {known}")
    return phones[0]


def write_textgrid(
    path: str | Path, tiers: Mapping[str, Sequence[Interval]], *, duration: float, force: bool = True
) -> None:
    """Write tiers in the long format, UTF-8, from 0 to ``duration`` seconds; gaps get empty labels.

    Raises:
        BadSetting: no duration, or intervals out of order or beyond it.
        WouldOverwrite: ``path`` exists and ``force`` is False.
    """
    if not duration > 0:
        raise BadSetting(f"{path} needs a duration above 0, not {duration}")
    span = f"xmin = 0\n{{0}}xmax = {float(duration)!r}\n"
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n{span.format("")}tiers? <exists>\n'
    lines = [f"{head}size = {len(tiers)}\nitem []:\n"]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        filled = _filled(path, name, intervals, float(duration))
        lines.append(
            f'    item [{number}]:\n        class = "IntervalTier"\n        name = {_quoted(name)}\n'
            f"        {span.format(' ' * 8)}        intervals: size = {len(filled)}\n"
        )
        for at, interval in enumerate(filled, 1):
            lines.append(
                f"        intervals [{at}]:\n            xmin = {interval.start!r}\n"
                f"            xmax = {interval.end!r}\n            text = {_quoted(interval.label)}\n"
            )
    with atomic(path, force=force) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def _interval(tokens: _Tokens) -> Row:
    start = float(tokens.next("number", "the start of an interval"))
    line = tokens.line
    end = float(tokens.next("number", "the end of an interval"))
    return Row(line, tokens.next("text", "the label of an interval"), start, end)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise BadAlignment(f"{path} is neither UTF-8 nor UTF-16 text; save it as a text TextGrid") from error
    except OSError as error:
        raise BadAlignment(f"{path} cannot be read: {error.strerror or error}") from error


def _filled(path: object, name: str, intervals: Sequence[Interval], duration: float) -> list[Interval]:
    """The intervals and, between them, empty ones, so that the tier is covered from 0 to ``duration``."""
    filled, now = [], 0.0
    for interval in intervals:
        start, end = float(interval.start), float(interval.end)
        if not now - _ROUNDING <= start < end <= duration + _ROUNDING:
            raise BadSetting(
                f"tier {name!r} of {path}: {interval} is empty, out of order or past the end ({duration:g} s)"
            )
        if start > now + _ROUNDING:
            filled.append(Interval("", now, start))
            now = start
        last = abs(end - duration) <= _ROUNDING
        filled.append(Interval(interval.label, now, duration if last else end))
        now = filled[-1].end
    if now < duration or not filled:
        filled.append(Interval("", now, duration))
    return filled


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
