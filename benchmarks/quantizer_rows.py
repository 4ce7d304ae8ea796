"""Who runs in each row, on which input, and whether they find the same codes."""

from collections.abc import Callable

import quantizer_ours as ours
import quantizer_peers as peers
import torch
from quantizer_field import Field
from quantizer_memory import Room
from quantizer_plan import Shape
from torch import Tensor

ITERATIONS = 10
"""Lloyd iterations of the k-means row."""
CHECKED = 4096
"""Differing rows that are looked at in double precision; more than these would be a bug, not rounding."""


def inputs(shape: Shape, device: str) -> tuple[Tensor, Tensor]:
    """Unit-normal vectors (1, N, D) and a gradient for them, the same in every process."""
    generator = torch.Generator().manual_seed(shape.N * 31 + shape.D * 7 + shape.K)
    x = torch.randn(1, shape.N, shape.D, generator=generator)
    pull = torch.randn(1, shape.N, shape.D, generator=generator)
    torch.manual_seed(shape.K)  # the codes
    return x.to(device), pull.to(device)


def field_of(row: str, shape: Shape, device: str, room: Room) -> Field:
    """The contestants of ``row`` at ``shape``, all with the same codes."""
    row = row.removeprefix("fixed-")
    x, pull = inputs(shape, device)
    if row == "search":
        return _search(Field(room, x, pull, [torch.randn(shape.K, shape.D).to(device)]), shape)
    if row == "kmeans":
        return _kmeans(Field(room, x, pull, [x[0, torch.randperm(shape.N)[: shape.K]].clone()]), shape)
    if row in ("residual", "shared"):
        return _residual(row, shape, x, pull, room)
    quantizer = ours.vector(shape, device)
    found = Field(room, x, pull, ours.books(quantizer))
    needs, codes_KD = peers.needed(row, shape), found.books[0]
    if row == "eval":
        found.add("ours", lambda: ours.forward(quantizer, x), main=True)
        plain = lambda: peers.vector(codes_KD)  # noqa: E731
        found.add_peer("vqp", plain, lambda module, x, _: peers.forward(module, x), main=True, needs=needs)
        return found
    found.add("ours", lambda: (ours.step(quantizer, x, pull), quantizer), main=True)
    torch.manual_seed(shape.K)  # the same codes again
    alive = ours.vector(shape, device, revival=True)
    found.add("ours revival", lambda: (ours.step(alive, x, pull), alive))
    found.add_peer("vqp", lambda: peers.vector(codes_KD), peers.step, main=True, needs=needs)
    found.add_peer("vqp rotation", lambda: peers.vector(codes_KD, rotation=True), peers.step, needs=needs)
    return found


def _residual(row: str, shape: Shape, x: Tensor, pull: Tensor, room: Room) -> Field:
    quantizer = ours.residual(shape, x.device.type, shared=row == "shared")
    found = Field(room, x, pull, ours.books(quantizer))
    needs, books = peers.needed(row, shape), found.books
    found.add("ours", lambda: (ours.step(quantizer, x, pull), quantizer), main=True)
    found.add_peer("vqp", lambda: peers.residual(books), peers.step, main=True, needs=needs)
    found.add_peer("vqp rotation", lambda: peers.residual(books, rotation=True), peers.step, needs=needs)
    return found


def _search(found: Field, shape: Shape) -> Field:
    x_ND, codes_KD = found.x[0], found.books[0]
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
    x_ND, first_KD = found.x[0], found.books[0]
    found.add("ours", lambda: ours.clusters(x_ND, first_KD, ITERATIONS), main=True)
    needs = peers.needed("kmeans", shape)
    found.add("vqp", lambda: peers.clusters(x_ND, first_KD, ITERATIONS), main=True, needs=needs)
    if not x_ND.is_cuda:
        found.add("faiss", lambda: peers.faiss_clusters(x_ND, first_KD, ITERATIONS))
    return found


def checks(row: str, found: Field) -> dict[str, object]:
    """What the first calls returned: how many codes differ from ours, or the k-means' inertias."""
    first = {c.name: c.first for c in found.runners if isinstance(c.first, Tensor)}
    x_ND = found.x[0]
    if row == "kmeans":
        return {"inertia": {name: inertia(x_ND, centres) for name, centres in first.items()}}
    mine = first.pop("ours").reshape(len(x_ND), -1)
    differ = {}
    for name, indices in first.items():
        theirs = indices.reshape(-1, mine.shape[1])  # of the first vectors, where it ran on a part
        n = len(theirs)
        differ[name] = differences(x_ND[:n], found.books, mine[:n], theirs)
    return {"differ": differ}


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
