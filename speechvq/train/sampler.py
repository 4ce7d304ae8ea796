"""Which items a step sees: a function of the seed and the step, so that a position is one number.

The epochs' permutations lie end to end; a step takes the next ``batch_size`` of them, across the end
of an epoch where it falls so. Each process takes its part of every batch, in order, so that the
processes together see the very batch that one process would.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from speechvq.errors import BadSetting

type Key = tuple[int, int]


@dataclass(frozen=True)
class Order:
    """The order in which ``size`` items are seen.

    Attributes:
        size: number of items, at least 1.
        batch_size: items of a batch over all processes; a multiple of their number.
        seed: of the permutations.
        rank: which process this is.
        world: how many there are.
    """

    size: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadSetting("there is nothing to train on")
        if self.batch_size % self.world:
            raise BadSetting(
                f"a batch of {self.batch_size} does not divide among {self.world} processes; "
                "make runtime.batch_size a multiple"
            )

    def epoch(self, batch: int) -> int:
        """The epoch in which batch number ``batch`` begins."""
        return batch * self.batch_size // self.size

    def batches(self, first: int = 0) -> Iterator[list[Key]]:
        """This process's (epoch, index) keys of batch ``first``, the next one, and so on without end."""
        share = self.batch_size // self.world
        batch = first
        while True:
            begin = batch * self.batch_size + self.rank * share
            yield [self._key(place) for place in range(begin, begin + share)]
            batch += 1

    def _key(self, place: int) -> Key:
        epoch, within = divmod(place, self.size)
        return epoch, int(_permutation(self.size, self.seed, epoch)[within])


@lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size)


class Resumable:
    """A batch sampler for a `DataLoader` that begins at batch ``first``."""

    def __init__(self, order: Order, first: int) -> None:
        self.order, self.first = order, first

    def __iter__(self) -> Iterator[list[Key]]:
        return self.order.batches(self.first)
