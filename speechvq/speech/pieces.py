"""A sequence that comes in pieces: what is to be done differently at its end must be known in time."""

from collections.abc import Iterable, Iterator


def marked[T](pieces: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each piece, and whether it is the last; one piece is looked ahead."""
    coming = iter(pieces)
    try:
        waiting = next(coming)
    except StopIteration:
        return
    for piece in coming:
        yield waiting, False
        waiting = piece
    yield waiting, True
