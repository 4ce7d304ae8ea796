"""Pictures with depth and classes, made by playing many short games of ViZDoom; no game is in two splits.

Class labels are the levels. The same flags make the same pictures with the same version of the package.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speechvq.errors import BadSetting, UnknownName
from speechvq.image.files import Size
from speechvq.image.prepare.doom import ACTIONS, LEVELS, SOUND_RATE, THINGS, TICS, Game, engine_module, play
from speechvq.store.arrays import INDEX, Arrays, ArrayStore, Kind, read_arrays, write_arrays
from speechvq.store.atomic import refuse

LONGEST = 64  # frames of a game: many short ones show more than a few long ones


@dataclass(frozen=True)
class Wanted:
    """How many frames of what.

    Raises:
        BadSetting, UnknownName: a value beyond its limits.
    """

    frames: int = 10_000  # in all
    size: Size = (64, 64)  # height and width
    levels: tuple[str, ...] = tuple(LEVELS)  # played in turn
    tics: int = 4  # of the game for each frame, 1/35 s each
    sound: bool = False  # keep the sound between two frames, 22,050 Hz, one channel
    valid: float = 0.05  # share of the frames that is held out
    test: float = 0.05  # share of the frames for the test
    seed: int = 0  # of the games and the player

    def __post_init__(self) -> None:
        for level in self.levels:
            if level not in LEVELS:
                raise UnknownName("level", level, list(LEVELS))
        if not self.levels or self.tics < 1 or self.seed < 0 or min(self.size) < 8:
            raise BadSetting(
                "a game needs a level, at least 1 tic a frame, 8 pixels a side, and a seed from 0"
            )
        if min(self.valid, self.test) < 0 or self.counts["train"] < 1:
            raise BadSetting(f"of {self.frames} frames none is left to train on; give more")

    @property
    def counts(self) -> dict[str, int]:
        """Frames of each split."""
        held = {"valid": round(self.valid * self.frames), "test": round(self.test * self.frames)}
        return {"train": self.frames - sum(held.values())} | held

    @property
    def kinds(self) -> dict[str, Kind]:
        """The arrays."""
        numbers = {"label": Kind((), "int64"), "action": Kind((), "int64"), "episode": Kind((), "int64")}
        planes = {"picture": Kind((3, *self.size)), "depth": Kind((1, *self.size))}
        planes |= {"segmentation": Kind(tuple(self.size))}
        heard = {"sound": Kind((SOUND_RATE * self.tics // TICS,), "int16")} if self.sound else {}
        return planes | numbers | heard


def vizdoom(out: Path, wanted: Wanted | None = None, *, force: bool = False) -> ArrayStore:
    """Play until every split has its frames, and write them with depth, segmentation, action and level.

    See `play` for what the arrays hold; "episode" numbers the games, and a game's frames lie in order.

    Raises:
        MissingExtra: ViZDoom is not installed.
        BadSetting: the engine does not start, or the sound is asked for and cannot be had.
        WouldOverwrite: there is a store in ``out``, and ``force`` is False.
    """
    wanted = wanted or Wanted()
    refuse(out / INDEX, force=force)
    engine_module()
    names = {"label": wanted.levels, "segmentation": THINGS, "action": tuple(ACTIONS)}
    facts = {"source": "ViZDoom", "seed": wanted.seed, "tics": wanted.tics, "tics_per_second": TICS}
    facts |= {"sound_rate": SOUND_RATE} if wanted.sound else {}
    bar = tqdm(total=wanted.frames, desc="playing", unit="frame", disable=None)
    with bar, write_arrays(
        out, wanted.counts, wanted.kinds, names=names, facts=facts, force=force
    ) as arrays:  # fmt: skip
        for split, part in arrays.items():
            for place, frame in zip(range(wanted.counts[split]), _frames(wanted, split), strict=False):
                for name, array in part.items():
                    array[place] = frame[name]
                bar.update()
    return read_arrays(out)


def _frames(wanted: Wanted, split: str) -> Iterator[Arrays]:
    """Frames of one game after the other, level after level, without end; splits count games apart."""
    begin = ("train", "valid", "test").index(split) * 1_000_000
    # Of a small split, games are so short that every level has its turn.
    longest = min(LONGEST, -(-wanted.counts[split] // len(wanted.levels)))
    for number in count():
        place = number % len(wanted.levels)
        seed = _seed((wanted.seed, split, number))
        game = Game(wanted.levels[place], seed, wanted.size, tics=wanted.tics, sound=wanted.sound)
        for frame in play(game, frames=longest):
            yield frame | {"label": np.asarray(place), "episode": np.asarray(begin + number)}


def _seed(words: Sequence[object]) -> int:
    """A number below 2 ** 31 that depends on the words alone."""
    digest = hashlib.sha256(" ".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
