"""Which recordings of a manifest are converted, and which others tell what their voices are like."""

import random
from collections.abc import Sequence

from speechvq.errors import BadSetting
from speechvq.score.speech import Clip
from speechvq.score.words import normalise
from speechvq.store.manifest import Entry

REFERENCES = 8
"""Recordings from which a voice is known."""
LONG_ENOUGH = 1.5
"""Seconds; shorter recordings say little about a voice and are the last to be taken as references."""


def choose(entries: Sequence[Entry], *, limit: int | None, seed: int = 0) -> list[Entry]:
    """Up to ``limit`` test entries, one voice after the other in turn, in an order set by ``seed``."""
    voices: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.split == "test":
            voices.setdefault(entry.speaker, []).append(entry)
    if not voices:
        raise BadSetting("the manifest has no entries of split 'test' to convert")
    order = random.Random(seed)
    for name in sorted(voices):
        order.shuffle(voices[name])
    rounds = max(len(found) for found in voices.values())
    turns = [voices[name][i] for i in range(rounds) for name in sorted(voices) if i < len(voices[name])]
    return turns[:limit]


def references(
    entries: Sequence[Entry], speaker: str, *, avoid: Sequence[Entry], seed: int = 0
) -> list[Clip]:
    """Up to `REFERENCES` recordings of a voice in which nobody says what is converted.

    Raises:
        BadSetting: there is none.
    """
    said = {entry.utterance for entry in avoid}
    free = [entry for entry in entries if entry.speaker == speaker and entry.utterance not in said]
    if not free:
        raise BadSetting(
            f"the manifest has no recordings of {speaker!r} beside the ones to be converted; "
            "lower the limit or leave this voice out"
        )
    random.Random(seed).shuffle(free)
    free.sort(key=lambda entry: entry.duration < LONG_ENOUGH)
    return [clip(entry) for entry in free[:REFERENCES]]


def parallel(entries: Sequence[Entry], entry: Entry, speaker: str) -> Clip | None:
    """The recording in which ``speaker`` says what ``entry`` says: same utterance id and same words."""
    words = normalise(entry.text or "")
    for other in entries:
        if other.speaker != speaker or other.utterance != entry.utterance:
            continue
        if normalise(other.text or "") == words:
            return clip(other)
    return None


def clip(entry: Entry) -> Clip:
    """The part of a sound file that an entry is about."""
    return Clip(entry.path, entry.start, entry.duration)
