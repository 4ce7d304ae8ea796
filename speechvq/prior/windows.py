"""A window that slides over a grid larger than what a prior reads at a time.

"Taming Transformers for High-Resolution Image Synthesis" (Esser et al. 2021, section 3.2): a code is drawn
from the codes before it in a window around it. Along each axis the window of n places begins n / 2 places
before the code, but never outside of the grid; on a grid no larger than the window it stands still.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.prior.row import Reader


@dataclass(frozen=True)
class Share:
    """The places that are drawn with the window at ``start``.

    Attributes:
        start: of the window, on each axis.
        places: slices of the grid; every place of it is in one share.
        within: the same places, counted from ``start``.
    """

    start: tuple[int, ...]
    places: tuple[slice, ...]
    within: tuple[slice, ...]


@dataclass(frozen=True)
class Windows:
    """Where the window stands for each place of a grid.

    Attributes:
        grid: places of the whole, on each axis.
        size: of the window; at most the grid's.
    """

    grid: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def over(cls, grid: tuple[int, ...], size: tuple[int, ...]) -> "Windows":
        """Windows of ``size`` or what there is of it; of the whole grid where the axes are not as many."""
        fits = len(grid) == len(size)
        return cls(grid, tuple(map(min, grid, size)) if fits else grid)

    @property
    def slide(self) -> bool:
        """False if one window is the whole grid."""
        return self.grid != self.size

    def start(self, place: int) -> tuple[int, ...]:
        """Where the window begins when the ``place``, in raster order, is drawn."""
        found: list[int] = []
        for axis in reversed(range(len(self.grid))):
            place, at = divmod(place, self.grid[axis])
            found.insert(0, self._along(axis, at))
        return tuple(found)

    def before(self, place: int) -> Tensor:
        """The places (n,), in raster order, of this place's window that come before it."""
        places = torch.arange(math.prod(self.grid)).view(self.grid)
        for axis, (first, size) in enumerate(zip(self.start(place), self.size, strict=True)):
            places = places.narrow(axis, first, size)
        return places[places < place]

    def cut(self, codes: Codes, start: tuple[int, ...]) -> Codes:
        """The codes (B, K, *grid) in the window at ``start``."""
        seen = (..., *(slice(at, at + n) for at, n in zip(start, self.size, strict=True)))
        return Codes(codes.indices[seen], None if codes.mask is None else codes.mask[seen])

    def shares(self) -> Iterator[Share]:
        """All the windows, with the places that each is there for."""
        axes = []
        for axis, whole in enumerate(self.grid):
            runs = itertools.groupby(range(whole), lambda at, axis=axis: self._along(axis, at))
            axes.append([(first, at[0], at[-1] + 1) for first, run in runs if (at := list(run))])
        for found in itertools.product(*axes):
            yield Share(
                tuple(first for first, _, _ in found),
                tuple(slice(begin, end) for _, begin, end in found),
                tuple(slice(begin - first, end - first) for first, begin, end in found),
            )

    def _along(self, axis: int, at: int) -> int:
        return max(0, min(at - self.size[axis] // 2, self.grid[axis] - self.size[axis]))


class SlidingReader:
    """A `Reader` of a whole grid, made of one that is begun anew whenever the window moves."""

    def __init__(
        self, begin: Callable[[tuple[int, ...]], Reader], windows: Windows, *, num_codebooks: int
    ) -> None:
        """Nothing is read yet.

        Args:
            begin: what reads the window that starts there, from its beginning.
            windows: over the grid.
            num_codebooks: tokens at each place.
        """
        self.begin, self.windows, self.depth = begin, windows, num_codebooks
        self.start: tuple[int, ...] | None = None
        self.pieces: list[Tensor] = []
        self.count = 0

    def read(self, tokens: Tensor) -> Tensor:
        """See `speechvq.prior.row.Reader`; the first token of all is "nothing"."""
        self.pieces.append(tokens)
        self.count += tokens.shape[1]
        place, book = divmod(self.count - 1, self.depth)
        start = self.windows.start(place)
        if start != self.start:
            self.start, self.reader = start, self.begin(start)
            tokens = self._seen(place, book)
        return self.reader.read(tokens)

    def _seen(self, place: int, book: int) -> Tensor:
        """ "Nothing", and the tokens of the window up to that of codebook ``book`` at ``place``."""
        row = torch.cat(self.pieces, dim=1)
        self.pieces = [row]
        earlier = self.windows.before(place).to(row.device)
        codes = row[:, 1 : 1 + place * self.depth].unflatten(1, (place, self.depth))[:, earlier]
        return torch.cat([row[:, :1], codes.flatten(1), row[:, self.count - book :]], dim=1)
