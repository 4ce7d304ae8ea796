"""How a gradient crosses a choice that has none: straight-through (van den Oord et al. 2017, section 3.2)."""

import torch
from torch import Tensor


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """``quantized``, bit for bit, whose gradient goes unchanged to ``z`` and nowhere else.

    Both have the same shape. The sum is written so that what is added is exactly zero: the usual
    ``z + (quantized - z)`` would round the code, and decoding its index would give another vector.
    """
    return quantized.detach() + (z - z.detach())


def in_backward() -> bool:
    """Whether this code runs inside a backward pass, as it does when activations are recomputed.

    A codebook that learned in the forward pass must not learn from the same batch again.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
