"""Batch normalisation by the statistics of all workers, before a quantizer or in the networks around it.

"Batch Normalization" (Ioffe and Szegedy 2015). Each worker sees a part of the batch only, so what is
normalised by the part is not what the whole would be. torch's own remedy, SyncBatchNorm, needs a GPU; here
sums are added up over the workers, and so are, on the way back, their gradients.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from speechvq.quantize import workers


class BatchNorm(_BatchNorm):
    """`torch.nn.BatchNorm1d` and so on, of any number of axes; with one worker exactly that.

    Every worker has to call it equally often; the gradients are for losses that are averaged over the
    workers, as DDP does.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *grid) to the same; ``B`` and the grid may differ from worker to worker."""
        if not self.training or workers.size() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        x = input.float()
        count = x.new_full((1,), x.numel() / x.shape[1])
        sums = _Total.apply(torch.cat([count, x.sum(axes)]))
        count, mean = sums[0], sums[1:] / sums[0]
        centred = x - _broad(mean, x)
        var = _Total.apply(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.num_batches_tracked is not None
                self.num_batches_tracked += 1
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean), share)
                unbiased = var * count / (count - 1).clamp(min=1)
                self.running_var.lerp_(unbiased.to(self.running_var), share)
        x = centred * _broad((var + self.eps).rsqrt(), x)
        if self.affine:
            x = x * _broad(self.weight, x) + _broad(self.bias, x)
        return x.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, *grid), got {tuple(input.shape)}")


class _Total(torch.autograd.Function):
    """A tensor summed over the workers; so is its gradient, for each worker's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        whole = own.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        whole = grads[0].contiguous().clone()
        dist.all_reduce(whole)
        return whole


def _broad(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, ...)."""
    return values.view(1, -1, *[1] * (like.dim() - 2))
