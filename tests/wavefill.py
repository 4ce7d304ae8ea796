"""Sine waves of their name and place as weights and inputs, so that two programs can hold the same ones.

For element i (row-major, from 0) of the tensor called ``name``, in float64:

    w = sin(0.1 (i + 1) + 2 pi (crc32(name) mod 1000) / 1000)

Tensors of two axes or more hold w if "codebook" is in their name, else 0.08 w; those of one axis 1 + 0.1 w
if their name ends in "weight", else 0.05 w; running sizes of clusters hold 1. Masks, coordinates and fixed
positions stay. Names are those of the published code, of which the first counts where a tensor has several.
"""

import math
import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def identity(name: str) -> str:
    return name


def wave(shape: Sequence[int], *, step: float, phase: float = 0.0) -> Tensor:
    """sin(step (i + 1) + phase) of every element, float64."""
    place = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(step * place + phase).reshape(tuple(shape))


def signal(*shape: int) -> Tensor:
    """What a model is given: sin(0.01 (i + 1)), float32."""
    return wave(shape, step=0.01).float()


def values(name: str, shape: Sequence[int]) -> Tensor:
    """What the tensor ``name`` holds, float32."""
    if name.endswith("cluster_size_ema"):
        return torch.ones(tuple(shape))
    w = wave(shape, step=0.1, phase=2 * math.pi * (zlib.crc32(name.encode()) % 1000) / 1000)
    if len(shape) >= 2:
        w = w if "codebook" in name else 0.08 * w
    else:
        w = 1 + 0.1 * w if name.endswith("weight") else 0.05 * w
    return w.float()


@torch.no_grad()
def fill(
    module_or_state: nn.Module | dict[str, Tensor], names: Callable[[str], str | None] = identity
) -> None:
    """Put the values of its published name, ``names(own)``, into every floating tensor but those that stay.

    Tensors whose name becomes None stay as well.
    """
    state = module_or_state.state_dict() if isinstance(module_or_state, nn.Module) else module_or_state
    for own, tensor in state.items():
        name = names(own)
        if name is None or name.endswith("mask") or "coord" in name or "pos_embedding" in name:
            continue
        if tensor.is_floating_point():
            tensor.copy_(values(name, tensor.shape))
