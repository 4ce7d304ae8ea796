"""Weights and inputs from a hash of their name and place, so that two programs can hold the same ones.

For element i (row-major, from 0) of the tensor called ``name``, in 32-bit unsigned arithmetic:

    x = (i + 1) * 2654435761 + crc32(name);  twice: x ^= x >> 16, x *= 0x45d9f3b;  x ^= x >> 16
    r = x / 2^31 - 1, in [-1, 1)

What becomes of r depends on what the name says the tensor is: see `values`. Names are those of the
published code; `fill` is told how ours translate.
"""

import math
import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

CODEBOOK = re.compile(r"(^|\.)(quantize\.embedding|quantize\.embed|tok_emb)\.weight$")
UNTOUCHED = re.compile(r"(^|\.)(mask|shift|scale)$")


def identity(name: str) -> str:
    return name


def hashed(name: str, shape: Sequence[int]) -> Tensor:
    """r of every element, float64."""
    place = np.arange(1, math.prod(shape) + 1, dtype=np.uint32)
    x = place * np.uint32(2654435761) + np.uint32(zlib.crc32(name.encode()))
    for _ in range(2):
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x45D9F3B)
    x ^= x >> np.uint32(16)
    return torch.from_numpy(x / 2**31 - 1.0).reshape(tuple(shape))


def values(name: str, shape: Sequence[int]) -> Tensor:
    """What the tensor ``name`` holds, float32.

    Codebooks and whatever is not named as below: r. Biases, running means, "pos_emb": 0.1 r. Weights of
    norms (one axis, or (1, C, 1)) and running variances: 1 + 0.1 r. Other weights: r sqrt(3 / fan in),
    without its sign for the linear layers "lin0" to "lin4" of LPIPS.
    """
    r, leaf = hashed(name, shape), name.rpartition(".")[2]
    if leaf in ("bias", "running_mean", "pos_emb"):
        r = 0.1 * r
    elif leaf == "running_var" or (leaf == "weight" and _norm(shape)):
        r = 1 + 0.1 * r
    elif leaf == "weight" and not CODEBOOK.search(name):
        r = r * math.sqrt(3 / math.prod(shape[1:]))
        r = r.abs() if re.search(r"(^|\.)lin\d\.", name) else r
    return r.float()


@torch.no_grad()
def fill(
    module_or_state: nn.Module | dict[str, Tensor], names: Callable[[str], str | None] = identity
) -> None:
    """Put the values of its published name, ``names(own)``, into every floating tensor.

    Tensors whose name becomes None stay, and so do masks, shifts, scales and integers.
    """
    state = module_or_state.state_dict() if isinstance(module_or_state, nn.Module) else module_or_state
    for own, tensor in state.items():
        name = names(own)
        if name is not None and tensor.is_floating_point() and not UNTOUCHED.search(name):
            tensor.copy_(values(name, tensor.shape))


def _norm(shape: Sequence[int]) -> bool:
    return len(shape) == 1 or (len(shape) == 3 and shape[0] == shape[2] == 1)
