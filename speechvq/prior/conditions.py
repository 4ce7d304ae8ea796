"""What a prior is told before the codes: integers in a row, from a class to the codes of another codec.

"Taming Transformers for High-Resolution Image Synthesis" (Esser et al. 2021, section 3.2): whatever a
picture is to be like is written as tokens before its own. A class is one; keypoints, boxes or words are a
list of them; depth, a segmentation, edges or the picture at low resolution become the codes of a codec of
their own; and where in a larger picture a crop lies is told by coordinates, one for each place.

Of a map, a window of the prior (`speechvq.prior.windows`) is told its own part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.errors import BadCodes, BadSetting, UnknownName
from speechvq.prior.places import coordinates, points
from speechvq.prior.windows import Windows

SHAPES = {
    "label": "(B,)",
    "tokens": "(B, n)",
    "map": "(B, K, *grid)",
    "coordinates": "(B, 1, *grid), or nothing for those of a whole picture",
}


@dataclass(frozen=True)
class Given:
    """One condition.

    Attributes:
        name: by which `Prior.nats` and `Prior.generate` find it in their condition.
        size: how many different integers there are: 0 to ``size - 1``.
        kind: "label" (B,), "tokens" (B, n), "map" (B, K, *grid) or "coordinates" (B, 1, *grid), made when
            they are not given.
        num_codebooks: K of a map.
        hop: of coordinates: pixels a side per place.
        names: of the integers of a label, for people; may be empty.
        codec: of a map: fingerprint of the codec whose codes they are; empty when it was not said.
    """

    name: str
    size: int
    kind: str = "map"
    num_codebooks: int = 1
    hop: int = 16
    names: tuple[str, ...] = ()
    codec: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in SHAPES:
            raise UnknownName("kind of condition", self.kind, list(SHAPES))
        if min(self.size, self.num_codebooks, self.hop) < 1:
            raise BadSetting(f"size, num_codebooks and hop of the condition {self.name} must be at least 1")
        if self.names and len(self.names) != self.size:
            raise BadSetting(
                f"the condition {self.name} has {len(self.names)} names for {self.size} integers"
            )

    def row(self, name: str) -> int:
        """The integer that is called ``name``; `UnknownName` if none is."""
        if name not in self.names:
            raise UnknownName(self.name, name, list(self.names))
        return self.names.index(name)

    def check(self, fingerprint: str) -> None:
        """Raise `BadCodes` if its codes are of another codec than the one with this fingerprint."""
        if self.codec and self.codec != fingerprint:
            raise BadCodes(
                f"the condition {self.name} is told in the codes of another codec (fingerprint {self.codec}, "
                f"this one is {fingerprint})"
            )


class Conditions:
    """All that a prior is told, with letters of their own or not, and the row that it becomes."""

    def __init__(self, given: Sequence[Given], *, nothing: int, shared: bool) -> None:
        """Lay the letters side by side.

        Args:
            given: in the order in which they are told.
            nothing: the token that stands alone when nothing is given.
            shared: if each integer is its own token, whatever it is an integer of; otherwise the letters
                of the first begin after ``nothing``, and so on.
        """
        self.given, self.nothing = tuple(given), nothing
        if len({one.name for one in self.given}) < len(self.given):
            raise BadSetting("two conditions of a prior have the same name")
        self.firsts, self.end = [], 0 if shared else nothing + 1
        for one in self.given:
            self.firsts.append(0 if shared else self.end)
            letters = one.size * one.num_codebooks
            self.end = max(self.end, one.size) if shared else self.end + letters
        self.steps = [0 if shared else one.size for one in self.given]

    def read(
        self, condition: dict[str, Tensor] | None, grid: tuple[int, ...], count: int, device: torch.device
    ) -> list[Tensor]:
        """Check what is given and turn it into tokens, each of them in its shape.

        Args:
            condition: tensors by name, with ``count`` rows, or one for all. Of the kind "tokens" also points
                (B, n, 2), see `speechvq.prior.places.points`.
            grid: of the codes.
            count: sequences.
            device: where they are wanted.

        Returns:
            Labels (count, 1), tokens (count, n), maps and coordinates (count, K, *their own grid); only
            "nothing", (count, 1), if the prior is told nothing.

        Raises:
            BadSetting: something is missing, of another shape, or beyond its size.
        """
        parts = [] if self.given else [torch.full((count, 1), self.nothing, device=device)]
        for one, first, step in zip(self.given, self.firsts, self.steps, strict=True):
            values = (condition or {}).get(one.name)
            if values is None and one.kind == "coordinates":
                values = coordinates(grid, hop=one.hop, size=one.size)[None, None]
            if values is None:
                raise BadSetting(f"this prior is told {one.name}; give it as {SHAPES[one.kind]} integers")
            if one.kind == "tokens" and values.is_floating_point():
                values = points(values, size=one.size)
            values = _checked(one, values.to(device, torch.int64), count, len(grid))
            if values.dim() > 2:
                books = torch.arange(values.shape[1], device=device)
                values = values + step * books.view(-1, *[1] * len(grid))
            parts.append(first + values)
        return parts

    def row(self, parts: Sequence[Tensor], windows: Windows, start: tuple[int, ...]) -> Tensor:
        """What is told before the codes of the window at ``start``: (count, m) tokens.

        Args:
            parts: from `read`.
            windows: over the grid of the codes.
            start: of the window.

        Raises:
            BadSetting: a map whose grid is too coarse for the window to have a part of it.
        """
        row = []
        for part in parts:
            if part.dim() > 2:
                part = _cut(part, windows, start).flatten(2).transpose(1, 2).flatten(1)
            row.append(part)
        return torch.cat(row, dim=1)

    def cut(
        self, condition: dict[str, Tensor] | None, windows: Windows, start: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """The condition of the window at ``start`` alone, as one would give it for a picture of that size.

        Args:
            condition: tensors by name.
            windows: over the grid of the codes.
            start: of the window.

        Raises:
            BadSetting: see `row`.
        """
        cut = dict(condition or {})
        for one in self.given:
            if one.kind == "coordinates" and one.name not in cut:
                cut[one.name] = coordinates(windows.grid, hop=one.hop, size=one.size)[None, None]
            if one.kind in ("map", "coordinates") and one.name in cut:
                cut[one.name] = _cut(cut[one.name], windows, start)
        return cut


def _checked(one: Given, values: Tensor, count: int, axes: int) -> Tensor:
    """``values`` with ``count`` rows, if they are what `SHAPES` says, and within the size."""
    wanted = {"label": 1, "tokens": 2}.get(one.kind, axes + 2)
    books = values.shape[1] if values.dim() > 2 else one.num_codebooks
    if values.dim() != wanted or books != one.num_codebooks:
        raise BadSetting(
            f"the condition {one.name} has the shape {tuple(values.shape)}; it must be {SHAPES[one.kind]} "
            f"with K = {one.num_codebooks}"
        )
    if len(values) not in (1, count):
        raise BadSetting(
            f"{len(values)} rows of {one.name} are given for {count} sequences; give one, or one each"
        )
    if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < one.size:
        raise BadSetting(
            f"the condition {one.name} has integers from {int(values.min())} to {int(values.max())}; "
            f"this prior knows 0 to {one.size - 1}"
        )
    values = values.expand(count, *values.shape[1:])
    return values[:, None] if one.kind == "label" else values


def _cut(values: Tensor, windows: Windows, start: tuple[int, ...]) -> Tensor:
    """The part of a map (B, K, *its grid) that is the window's."""
    if values.dim() != len(windows.grid) + 2:
        raise BadSetting(f"a map is (B, K, *grid), and the grid {windows.grid}; not {tuple(values.shape)}")
    for axis, (first, size, whole) in enumerate(zip(start, windows.size, windows.grid, strict=True), 2):
        places = values.shape[axis]
        if size * places % whole:
            raise BadSetting(
                f"a window of {size} of {whole} places is no whole number of a condition's {places}"
            )
        values = values.narrow(axis, first * places // whole, size * places // whole)
    return values
