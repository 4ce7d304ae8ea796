"""What a code costs when the codes before it are only counted: unigram, bigram, trigram.

These are what a prior must do better than. A code t after the context h costs -log2 of

    P_n(t | h) = (n(h, t) + a_n P_{n-1}(t | h')) / (n(h) + a_n),      P_0 = 1 / Q

where n(.) counts in training rows, h' is h without its earliest token, and Q is the size of the codebook.
This is smoothing by a Dirichlet prior (MacKay and Bauman Peto, "A Hierarchical Dirichlet Language Model",
1995). The weights a_n are those that a tenth of the training rows, counted with the rest, finds cheapest.
Rows are tokens of `speechvq.prior.tokens`: several codebooks in turn, "nothing" before the beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from speechvq.errors import BadSetting
from speechvq.prior.tokens import Alphabet

WEIGHTS = tuple(float(2**i) for i in range(-3, 15))
"""Weights a_n that are tried."""


def highest_order(alphabet: Alphabet) -> int:
    """The order up to which contexts over ``alphabet`` can be numbered, and so counted."""
    return next(order for order in count() if (alphabet.size + 1) ** (order + 2) >= 2**63)


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each context, and each context with the token after it, was seen.

    Keys are numbers of both, sorted, without repetition; times beside them.
    """

    keys: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray) -> "Counts":
        """Count equal keys (N,)."""
        return cls(*np.unique(keys, return_counts=True))

    def look(self, keys: np.ndarray) -> np.ndarray:
        """(N,) how often each of ``keys`` was counted."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.int64)
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.times[places], 0)


class Ngrams:
    """Counting models of the orders 1 to ``order`` over one alphabet.

    Attributes:
        weights: a_1 to a_order.
    """

    def __init__(self, alphabet: Alphabet, rows: Sequence[np.ndarray], *, order: int = 3) -> None:
        """Count ``rows`` of tokens (L,), and choose the weights by every tenth of them.

        Raises:
            BadSetting: an order below 1, one whose contexts are too many to be numbered, or no rows.
        """
        if not 1 <= order <= highest_order(alphabet):
            raise BadSetting(f"contexts of the order {order} over {alphabet.size} tokens cannot be counted")
        if not sum(map(len, rows)):
            raise BadSetting("there are no codes to count; give a manifest with recordings to train on")
        self.alphabet, self.order, self.weights = alphabet, order, ()
        kept = [row for i, row in enumerate(rows) if i % 10 != 9] or rows
        self._count(kept)
        self.weights = self._chosen([row for i, row in enumerate(rows) if i % 10 == 9] or rows)
        self._count(rows)

    def bits(self, rows: Sequence[np.ndarray]) -> list[float]:
        """Bits per code of ``rows`` under each order, the lowest first."""
        chances, found = np.full(sum(map(len, rows)), 1 / self.alphabet.codebook_size), []
        for (both, context), weight in zip(self._seen(rows), self.weights, strict=True):
            chances = (both + weight * chances) / (context + weight)
            found.append(float(-np.log2(chances).mean()))
        return found

    def _chosen(self, rows: Sequence[np.ndarray]) -> tuple[float, ...]:
        chances, chosen = np.full(sum(map(len, rows)), 1 / self.alphabet.codebook_size), []
        for both, context in self._seen(rows):
            tried = {a: (both + a * chances) / (context + a) for a in WEIGHTS}
            best = min(WEIGHTS, key=lambda a: -np.log2(tried[a]).sum())
            chances = tried[best]
            chosen.append(best)
        return tuple(chosen)

    def _count(self, rows: Sequence[np.ndarray]) -> None:
        keys = [self._keys(rows, order) for order in range(1, self.order + 1)]
        self.tables = [(Counts.of(both), Counts.of(context)) for both, context in keys]

    def _seen(self, rows: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each order: how often each token was seen in its context, and the context alone."""
        found = []
        for order, (both, context) in enumerate(self.tables, 1):
            keys = self._keys(rows, order)
            found.append((both.look(keys[0]), context.look(keys[1])))
        return found

    def _keys(self, rows: Sequence[np.ndarray], order: int) -> tuple[np.ndarray, np.ndarray]:
        """A number for each token with the ``order - 1`` before it, and one for those and its codebook."""
        letters, both, context = self.alphabet.size + 1, [], []
        for row in rows:
            own = row.astype(np.int64) - self.alphabet.first
            books = np.arange(len(row)) % self.alphabet.num_codebooks
            past = np.zeros(len(row), dtype=np.int64)
            for back in range(1, order):
                before = np.full(len(row), self.alphabet.size - 1)
                before[back:] = own[: len(row) - back]
                past = past * letters + before
            both.append(past * letters + own)
            context.append(past * letters + books)
        return np.concatenate(both), np.concatenate(context)
