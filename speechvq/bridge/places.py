"""Where the tensors of a published file lie in a module of ours: copied in, and copied out again.

Most of theirs are one of ours under another name. Some have another shape, of as many numbers in the same
order, and some are a third of ours: queries, keys and values, which are one layer here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from speechvq.bridge.checkpoint import Tensors
from speechvq.errors import BadCheckpoint


@dataclass(frozen=True)
class Place:
    """Where one of their tensors lies.

    Attributes:
        own: name of our tensor.
        shape: of theirs.
        third: None for the whole of ours, or the third of its rows, 0 to 2.
    """

    own: str
    shape: tuple[int, ...]
    third: int | None = None


type Places = dict[str, Place]
"""By their names."""


def places_of(module: nn.Module, name: Callable[[str], str | None]) -> Places:
    """Those of all tensors of ``module``, under what ``name`` makes of our names; None leaves one out."""
    named = {own: name(own) for own in module.state_dict()}
    return same(module, {theirs: own for own, theirs in named.items() if theirs is not None})


def same(module: nn.Module, names: Mapping[str, str]) -> Places:
    """Those of whole tensors of ``module`` in their own shape; ``names`` leads from theirs to ours."""
    state = module.state_dict()
    return {theirs: Place(own, tuple(state[own].shape)) for theirs, own in names.items()}


def under(prefix: str, places: Mapping[str, Place]) -> Places:
    """The same places of names that begin with ``prefix``."""
    return {prefix + name: place for name, place in places.items()}


@torch.no_grad()
def fill(module: nn.Module, tensors: Tensors, places: Mapping[str, Place], *, path: str | Path) -> None:
    """Copy their tensors to their places in ``module``.

    Raises:
        BadCheckpoint: a shape is another.
    """
    for name, place, part in _parts(module, places):
        if tuple(tensors[name].shape) != place.shape:
            found = tuple(tensors[name].shape)
            raise BadCheckpoint(f"{path}: {name!r} has the shape {found} where {place.shape} is needed")
        part.copy_(tensors[name].reshape(part.shape))


def take(module: nn.Module, places: Mapping[str, Place]) -> Tensors:
    """The reverse of `fill`: copies of our tensors, on the CPU, as theirs."""
    parts = _parts(module, places)
    return {name: part.detach().cpu().reshape(place.shape).clone() for name, place, part in parts}


def _parts(module: nn.Module, places: Mapping[str, Place]) -> Iterator[tuple[str, Place, Tensor]]:
    state = module.state_dict()
    for name, place in places.items():
        own = state[place.own]
        yield name, place, own if place.third is None else own.chunk(3)[place.third]
