"""What the workers of torch.distributed tell each other about a codebook. With one worker, nothing.

The process group is asked for at every call, because it may be started after a quantizer was made.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """How many workers there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which worker this is, from 0."""
    return dist.get_rank() if size() > 1 else 0


def total(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor summed over the workers, all in one call. They have one dtype and device."""
    if size() == 1:
        return tensors
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    parts = flat.split([t.numel() for t in tensors])
    return [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]


def mean_over(mean: Tensor, count: Tensor) -> Tensor:
    """This worker's ``mean`` over ``count`` (0-dim) vectors, to that over the vectors of all workers.

    Differentiable without a call in the backward pass: the slope is as many times larger as there are
    workers, so that gradients which are then averaged over the workers, as DDP does, are those of one
    worker with the whole batch. That holds if every worker makes the same loss of the result.
    """
    if size() == 1:
        return mean
    count = count.to(mean.dtype)
    whole, joint = total([(mean * count).detach(), count])
    joint = joint.clamp(min=1)
    own = mean * (count * size() / joint)
    # What is added is exactly zero; its slope is not.
    return whole / joint + (own - own.detach())


def gather(rows: Tensor) -> Tensor:
    """The rows (n, D) of all workers below each other, in the order of the workers; n may differ."""
    if size() == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    lengths = [torch.empty_like(own) for _ in range(size())]
    dist.all_gather(lengths, own)
    longest = max(int(n) for n in lengths)
    padded = rows.new_zeros(longest, rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(size())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])


@torch.no_grad()
def copy_from_first(tensors: list[Tensor]) -> None:
    """Overwrite every tensor with worker 0's."""
    if size() == 1:
        return
    for tensor in tensors:
        dist.broadcast(tensor, src=0)
