"""Which phone is spoken when: intervals of a recording, each with its label."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A stretch of a recording and what is in it; times in seconds from the start of the audio file."""

    label: str
    start: float
    end: float
