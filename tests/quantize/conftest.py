"""Quantizers of every kind, small, for the tests of the interface."""

import pytest
import torch

from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start, VectorQuantizer

DIM, SIZE, DEPTH = 5, 12, 3
KINDS = {
    "vector-ema": (VectorQuantizer, (), {}),
    "vector-gradient": (VectorQuantizer, (), {"learning": Learning(by="gradient")}),
    "vector-no-revival": (VectorQuantizer, (), {"revival": Revival(threshold=0)}),
    "residual-ema": (ResidualQuantizer, (DEPTH,), {}),
    "residual-shared": (ResidualQuantizer, (DEPTH,), {"shared": True}),
    "residual-gradient": (ResidualQuantizer, (DEPTH,), {"learning": Learning(by="gradient")}),
    "residual-shared-gradient": (
        ResidualQuantizer,
        (DEPTH,),
        {"shared": True, "learning": Learning(by="gradient")},
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    """A maker: ``kind(start=..., dim=...)`` gives the quantizer of this kind."""
    cls, args, settings = KINDS[request.param]

    def make(*, start=None, dim=DIM, seed=0, **more):
        torch.manual_seed(seed)
        return cls(dim, SIZE, *args, start=start or Start(by="normal"), **(settings | more))

    return make


@pytest.fixture
def state_of():
    """A maker of copies of everything a quantizer holds."""
    return lambda module: {k: v.clone() for k, v in module.state_dict().items()}
