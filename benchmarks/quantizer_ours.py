"""Our side of the comparison, through the public interface alone."""

from collections.abc import Callable

import torch
from quantizer_plan import DEPTH, Shape
from torch import Tensor

from speechvq.quantize import Quantizer, ResidualQuantizer, Revival, Start, VectorQuantizer
from speechvq.quantize.nearest import nearest
from speechvq.quantize.start import kmeans

START = Start(by="normal")


def vector(shape: Shape, device: str, *, revival: bool = False) -> Quantizer:
    """Plain vector quantization with EMA, decay 0.99; random codes."""
    alive = Revival() if revival else Revival(threshold=0)
    return VectorQuantizer(shape.D, shape.K, start=START, revival=alive).to(device)


def residual(shape: Shape, device: str, *, shared: bool) -> Quantizer:
    """A residual stack, with codebooks of its own at each depth or one for all."""
    made = ResidualQuantizer(
        shape.D, shape.K, DEPTH, shared=shared, start=START, revival=Revival(threshold=0)
    )
    return made.to(device)


def books(quantizer: Quantizer) -> list[Tensor]:
    """The codes (K, D) of each depth, or of the one shared codebook."""
    if isinstance(quantizer, ResidualQuantizer):
        return [codebook.vectors.detach().clone() for codebook in quantizer.codebooks]
    return [quantizer.codebook.vectors.detach().clone()]


def forward(quantizer: Quantizer, x_1ND: Tensor) -> Callable[[], Tensor]:
    """One eval forward; returns indices (N, depth)."""
    z = x_1ND.movedim(-1, 1)

    def call() -> Tensor:
        with torch.no_grad():
            return quantizer(z).indices[0].T

    quantizer.eval()
    return call


def step(quantizer: Quantizer, x_1ND: Tensor, pull_1ND: Tensor) -> Callable[[], Tensor]:
    """Forward, backward and EMA; returns indices (N, depth). ``pull`` is the gradient of the vectors."""
    leaf = x_1ND.detach().clone().requires_grad_()
    pull = pull_1ND.movedim(-1, 1)

    def call() -> Tensor:
        leaf.grad = None
        out = quantizer(leaf.movedim(-1, 1))
        losses = list(out.losses.values())
        torch.autograd.backward([out.vectors, *losses], [pull, *[None] * len(losses)])
        return out.indices[0].T

    quantizer.train()
    return call


def search(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], Tensor]:
    """The nearest codes (N,)."""
    return lambda: nearest(x_ND, codes_KD)


def clusters(x_ND: Tensor, first_KD: Tensor, iterations: int) -> Callable[[], Tensor]:
    """Centres (K, D) after Lloyd iterations from ``first_KD``."""
    generator = torch.Generator().manual_seed(0)
    return lambda: kmeans(x_ND, first_KD, iterations=iterations, generator=generator)
