"""Who takes part in a cell: everybody who is installed and for whom there is room."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

from quantizer_clock import Contestant
from quantizer_memory import Room
from quantizer_plan import GIB
from torch import Tensor, nn

type Work = Callable[[], object]

SMALLEST_PART = 8
"""A peer for whom there is no room runs on half of the vectors, a quarter, or at least this part of them."""


@dataclass
class Field:
    """Who runs in a cell, and who does not and why.

    Attributes:
        room: the memory there is.
        x: (1, N, D), the vectors; pull: a gradient for them.
        books: the codes (K, D) of each depth; one is shared by all.
        largest: bytes that the largest of those who run holds at its peak.
    """

    room: Room
    x: Tensor
    pull: Tensor
    books: list[Tensor]
    runners: list[Contestant] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    largest: int = 0

    def add(
        self,
        name: str,
        make: Callable[[], Work | tuple[Work, nn.Module]],
        *,
        main: bool = False,
        needs: int = 0,
        part: int = 1,
    ) -> None:
        """Let ``name`` run, unless it is not installed or its peak of ``needs`` bytes is too much."""
        if not self.room.holds(needs):
            self.skipped[name] = f"takes about {self.room.grown(needs) / GIB:.1f} GiB; see --limit"
            return
        try:
            made = make()
        except ImportError as error:
            self.skipped[name] = f"not here: {error}"
            return
        call, module = made if isinstance(made, tuple) else (made, None)
        self.largest = max(self.largest, needs)
        reset = restorer(module) if module else None
        self.runners.append(Contestant(name, call, reset, main, part))

    def add_peer(
        self,
        name: str,
        module: Callable[[], nn.Module],
        work: Callable[[nn.Module, Tensor, Tensor], Work],
        *,
        main: bool = False,
        needs: int,
    ) -> None:
        """Let a peer run ``work(module, x, pull)``, whose memory and time grow with the vectors.

        Where there is no room for all of them it is given the first ones, and its time is multiplied.
        Where it takes GiB, those who are there for information only stay away.
        """
        if needs > 4 * GIB and not main:
            self.skipped[name] = "too large a shape for what is not judged"
            return
        part = 1
        while part < SMALLEST_PART and not self.room.holds(needs // part):
            part *= 2
        n = self.x.shape[1] // part

        def make() -> tuple[Work, nn.Module]:
            made = module()
            return work(made, self.x[:, :n], self.pull[:, :n]), made

        self.add(name, make, main=main, needs=needs // part, part=part)


def restorer(module: nn.Module) -> Callable[[], None]:
    """Put a module's state back to what it is now, so that nothing drifts over thousands of steps."""
    state = deepcopy(module.state_dict())
    return lambda: module.load_state_dict(state) and None
