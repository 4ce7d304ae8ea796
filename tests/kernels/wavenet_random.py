"""Random WaveNets and what they are given to speak, for the tests of the compiled decoder."""

import torch
from torch import Tensor

from speechvq.kernels.wavenet_plain import Network, Past, start


def random_net(layers=6, cycle=3, residual=16, gate=16, skip=32, post=32, outputs=64, *, taps=2, mixtures=0):
    """Weights of such a size that every level is likely somewhere."""

    def matrix(*shape: int) -> Tensor:
        return torch.randn(*shape) * (2 / shape[-2]) ** 0.5

    said = 3 * mixtures or outputs
    return Network(
        enter=torch.randn(2 if mixtures else outputs, residual),
        dilated=matrix(layers, taps * residual, 2 * gate),
        residual=matrix(layers, gate, residual),
        residual_bias=0.1 * torch.randn(layers, residual),
        skip=matrix(layers * gate, skip),
        skip_bias=0.1 * torch.randn(skip),
        post=matrix(skip, post),
        post_bias=0.1 * torch.randn(post),
        last=matrix(post, said),
        last_bias=torch.randn(said),
        dilations=tuple(2 ** (i % cycle) for i in range(layers)),
        levels=65536 if mixtures else outputs,
        mixtures=mixtures,
    )


def spoken_to(net: Network, rows: int, frames: int, hop: int) -> tuple[Tensor, Tensor]:
    """Conditions and uniform numbers."""
    layers, gate, _ = net.residual.shape
    uniforms = torch.rand(rows, frames * hop, 2 if net.mixtures else 1, dtype=torch.float64)
    return torch.randn(rows, layers, 2 * gate, frames), uniforms


def beginning(net: Network, rows: int) -> Past:
    return start(net, torch.arange(rows) * 7 % net.levels)
