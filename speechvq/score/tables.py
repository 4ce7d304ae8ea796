"""Scores as tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table


def two_columns(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names on the left, figures on the right."""
    return columns(title, ("", ""), rows)


def columns(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Rows under headings; the first column to the left, the others to the right."""
    headed = any(headings)
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=headed, pad_edge=False)
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="right" if place else "left")
    for row in rows:
        made.add_row(*row)
    return made
