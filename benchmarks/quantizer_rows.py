"""Who runs in each row, on which input, and whether they find the same codes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import quantizer_ours as ours
import quantizer_peers as peers
import torch
from quantizer_clock import Contestant
from quantizer_memory import available
from quantizer_plan import DEPTH, GIB, Shape
from torch import Tensor, nn

ITERATIONS = 10
"""Lloyd iterations of the k-means row."""
CHECKED = 4096
"""Differing rows that are looked at in double precision; more than these would be a bug, not rounding."""

type Work = Callable[[], object]


@dataclass
class Field:
    """Who runs in a cell, and who does not and why.

    Attributes:
        limit: bytes that nobody may exceed.
        x: (N, D), the vectors.
        books: the codes (K, D) of each depth; one is shared by all.
        largest: bytes that the largest of those who run takes.
    """

    limit: int
    x: Tensor
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
    ) -> None:
        """Let ``name`` run, unless it would take too much memory or is not installed.

        Where a peer takes GiB, those who are there for information only stay away.
        """
        if needs > 4 * GIB and not main:
            self.skipped[name] = "too large a shape for what is not judged"
            return
        room = min(self.limit, available())
        if needs > room:
            self.skipped[name] = f"takes about {needs / GIB:.1f} GiB; {room / GIB:.1f} GiB may be used"
            return
        try:
            made = make()
        except ImportError as error:
            self.skipped[name] = f"not here: {error}"
            return
        call, module = made if isinstance(made, tuple) else (made, None)
        self.largest = max(self.largest, needs)
        self.runners.append(Contestant(name, call, ours.restorer(module) if module else None, main))


def inputs(shape: Shape, device: str) -> tuple[Tensor, Tensor]:
    """Unit-normal vectors (1, N, D) and a gradient for them, the same in every process."""
    generator = torch.Generator().manual_seed(shape.N * 31 + shape.D * 7 + shape.K)
    x = torch.randn(1, shape.N, shape.D, generator=generator)
    pull = torch.randn(1, shape.N, shape.D, generator=generator)
    torch.manual_seed(shape.K)  # the codes
    return x.to(device), pull.to(device)


def field_of(row: str, shape: Shape, device: str, limit: int) -> Field:
    """The contestants of ``row`` at ``shape``, all with the same codes."""
    row = row.removeprefix("fixed-")
    x, pull = inputs(shape, device)
    if row == "search":
        return _search(Field(limit, x[0], [torch.randn(shape.K, shape.D).to(device)]), shape)
    if row == "kmeans":
        return _kmeans(Field(limit, x[0], [x[0, torch.randperm(shape.N)[: shape.K]].clone()]), shape)
    if row in ("residual", "shared"):
        return _residual(row, shape, x, pull, limit)
    quantizer = ours.vector(shape, device)
    found = Field(limit, x[0], ours.books(quantizer))
    needs = peers.needed(row, shape)
    if row == "eval":
        found.add("ours", lambda: ours.forward(quantizer, x), main=True)
        found.add("vqp", lambda: peers.forward(peers.vector(found.books[0]), x), main=True, needs=needs)
        return found
    found.add("ours", lambda: (ours.step(quantizer, x, pull), quantizer), main=True)
    torch.manual_seed(shape.K)  # the same codes again
    alive = ours.vector(shape, device, revival=True)
    found.add("ours revival", lambda: (ours.step(alive, x, pull), alive))
    for name, rotation in (("vqp", False), ("vqp rotation", True)):
        peer = lambda rotation=rotation: peers.vector(found.books[0], rotation=rotation)  # noqa: E731
        _add_step(found, name, peer, x, pull, needs)
    return found


def _add_step(
    found: Field, name: str, make: Callable[[], nn.Module], x: Tensor, pull: Tensor, needs: int
) -> None:
    def both() -> tuple[Work, nn.Module]:
        module = make()
        return peers.step(module, x, pull), module

    found.add(name, both, main=name == "vqp", needs=needs)


def _residual(row: str, shape: Shape, x: Tensor, pull: Tensor, limit: int) -> Field:
    shared = row == "shared"
    quantizer = ours.residual(shape, x.device.type, shared=shared)
    found = Field(limit, x[0], ours.books(quantizer))
    found.add("ours", lambda: (ours.step(quantizer, x, pull), quantizer), main=True)
    for name, rotation in (("vqp", False), ("vqp rotation", True)):
        peer = lambda rotation=rotation: peers.residual(found.books, rotation=rotation)  # noqa: E731
        _add_step(found, name, peer, x, pull, peers.needed(row, shape))
    return found


def _search(found: Field, shape: Shape) -> Field:
    x_ND, codes_KD = found.x, found.books[0]
    found.add("ours", lambda: ours.search(x_ND, codes_KD), main=True)
    if x_ND.is_cuda:
        found.add("flash", lambda: peers.flash_search(x_ND, codes_KD), main=True)
    else:
        found.add("faiss", lambda: peers.faiss_search(x_ND, codes_KD), main=True)
    found.add("cdist", lambda: peers.cdist(x_ND, codes_KD), needs=peers.needed("search", shape))
    found.add("product", lambda: peers.product(x_ND, codes_KD))
    found.add("onednn product", lambda: peers.onednn_product(x_ND, codes_KD))
    return found


def _kmeans(found: Field, shape: Shape) -> Field:
    x_ND, first_KD = found.x, found.books[0]
    found.add("ours", lambda: ours.clusters(x_ND, first_KD, ITERATIONS), main=True)
    needs = peers.needed("kmeans", shape)
    found.add("vqp", lambda: peers.clusters(x_ND, first_KD, ITERATIONS), main=True, needs=needs)
    if not x_ND.is_cuda:
        found.add("faiss", lambda: peers.faiss_clusters(x_ND, first_KD, ITERATIONS))
    return found


def checks(row: str, found: Field) -> dict[str, object]:
    """What the first calls returned: how many codes differ from ours, or the k-means' inertias."""
    first = {c.name: c.first for c in found.runners if isinstance(c.first, Tensor)}
    if row == "kmeans":
        return {"inertia": {name: inertia(found.x, centres) for name, centres in first.items()}}
    mine = first.pop("ours").reshape(len(found.x), -1)
    theirs = {name: found_NV.reshape(mine.shape) for name, found_NV in first.items()}
    return {
        "differ": {
            name: differences(found.x, found.books, mine, indices_NV) for name, indices_NV in theirs.items()
        }
    }


def inertia(x_ND: Tensor, centres_KD: Tensor) -> float:
    """Mean squared distance of the vectors from their nearest centres, in double precision."""
    parts = [torch.cdist(x.double(), centres_KD.double()).amin(1).square() for x in x_ND.split(1024)]
    return float(torch.cat(parts).mean())


def differences(x_ND: Tensor, books: list[Tensor], ours_NV: Tensor, theirs_NV: Tensor) -> dict[str, int]:
    """In how many rows the codes differ, and why: judged at the first depth that differs.

    "ties" are as far apart as rounding of float32 products of these lengths can bring them; of the
    others "ours" were nearer by our choice and "theirs" by theirs.
    """
    differ_NV = ours_NV.cpu() != theirs_NV.cpu()
    rows = differ_NV.any(1).nonzero()[:, 0]
    found = {"rows": len(rows), "ties": 0, "ours": 0, "theirs": 0}
    for n in rows[:CHECKED].tolist():
        depth = int(differ_NV[n].byte().argmax())
        left = x_ND[n].double().cpu()
        for v in range(depth):
            left = left - _code(books, v, ours_NV[n, v])
        pair = [_code(books, depth, found_NV[n, depth]) for found_NV in (ours_NV, theirs_NV)]
        ours_far, theirs_far = ((left - code).square().sum() for code in pair)
        rounding = (
            16 * torch.finfo(torch.float32).eps * (left.square().sum() + max(c.square().sum() for c in pair))
        )
        gap = float(theirs_far - ours_far)
        found["ties" if abs(gap) <= rounding else "ours" if gap > 0 else "theirs"] += 1
    return found


def _code(books: list[Tensor], depth: int, index: Tensor) -> Tensor:
    return books[0 if len(books) == 1 else depth][index].double().cpu()


def memory_call(name: str, shape: Shape, device: str) -> Callable[[], object]:
    """The one call whose memory is read: a training step, or our eval forward."""
    x, pull = inputs(shape, device)
    quantizer = ours.vector(shape, device)
    if name == "ours":
        return ours.step(quantizer, x, pull)
    if name == "ours eval":
        return ours.forward(quantizer, x)
    return peers.step(peers.vector(ours.books(quantizer)[0]), x, pull)


__all__ = [
    "DEPTH",
    "ITERATIONS",
    "Field",
    "checks",
    "differences",
    "field_of",
    "inertia",
    "inputs",
    "memory_call",
]
