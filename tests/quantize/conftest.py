"""Quantizers of every kind, small, for the tests of the interface."""

import pytest
import torch

from speechvq.quantize import (
    Chance,
    GroupedQuantizer,
    Learning,
    ResidualQuantizer,
    Revival,
    Space,
    Start,
    VectorQuantizer,
)
from speechvq.quantize.gumbel import GumbelQuantizer
from speechvq.quantize.lookup_free import LFQ, BitEntropy
from speechvq.quantize.scalar import FSQ

DIM, SIZE, DEPTH, GROUPS = 6, 12, 3, 2
BY_GRADIENT = {"learning": Learning(by="gradient")}
FACTORISED = {"space": Space(dim=3)}
KINDS = {
    "vector-ema": (VectorQuantizer, (), {}),
    "vector-gradient": (VectorQuantizer, (), BY_GRADIENT),
    "vector-no-revival": (VectorQuantizer, (), {"revival": Revival(threshold=0)}),
    "vector-debiased": (VectorQuantizer, (), {"learning": Learning(by="debiased")}),
    "vector-frozen": (VectorQuantizer, (), {"learning": Learning(by="frozen")}),
    "vector-rotation": (VectorQuantizer, (), {"learning": Learning(estimator="rotation")}),
    "vector-cosine": (VectorQuantizer, (), {"space": Space(metric="cosine")}),
    "vector-cosine-gradient": (VectorQuantizer, (), BY_GRADIENT | {"space": Space(metric="cosine")}),
    "vector-factorised": (VectorQuantizer, (), FACTORISED),
    "vector-affine": (VectorQuantizer, (), BY_GRADIENT | {"space": Space(codes="affine")}),
    "vector-projected": (VectorQuantizer, (), BY_GRADIENT | {"space": Space(codes="projected")}),
    "residual-ema": (ResidualQuantizer, (DEPTH,), {}),
    "residual-shared": (ResidualQuantizer, (DEPTH,), {"shared": True}),
    "residual-gradient": (ResidualQuantizer, (DEPTH,), BY_GRADIENT),
    "residual-shared-gradient": (ResidualQuantizer, (DEPTH,), BY_GRADIENT | {"shared": True}),
    "residual-factorised": (ResidualQuantizer, (DEPTH,), FACTORISED),
    "residual-dropout": (ResidualQuantizer, (DEPTH,), {"chance": Chance(dropout=0.5)}),
    "grouped": (GroupedQuantizer, (GROUPS,), {}),
    "grouped-residual": (GroupedQuantizer, (GROUPS,), {"depth": DEPTH}),
}
WITHOUT_CODEBOOK = {
    "fsq": lambda dim: FSQ((3, 2, 2), dim=dim),
    "lfq": lambda dim: LFQ(16, dim=dim, entropy=BitEntropy(temperature=1.0)),
    "gumbel": lambda dim: GumbelQuantizer(dim, SIZE),
}
"""Kinds whose codes are not followed, started or revived; what that asks for is not asked of them."""


def maker(name):
    """``make(start=..., dim=...)`` gives the quantizer of the kind ``name``."""

    def make(*, start=None, dim=DIM, seed=0, **more):
        torch.manual_seed(seed)
        if name in WITHOUT_CODEBOOK:
            return WITHOUT_CODEBOOK[name](dim)
        cls, args, settings = KINDS[name]
        if cls is GroupedQuantizer and dim % GROUPS:
            args = (1,)
        return cls(dim, SIZE, *args, start=start or Start(by="normal"), **(settings | more))

    make.name = name
    make.by_chance = name in ("residual-dropout", "gumbel")
    make.linear = name.endswith("factorised")
    return make


@pytest.fixture(params=KINDS)
def kind(request):
    """A maker, for every kind that has codebooks."""
    return maker(request.param)


@pytest.fixture(params=KINDS | WITHOUT_CODEBOOK)
def any_kind(request):
    """A maker, for every kind."""
    return maker(request.param)


@pytest.fixture
def state_of():
    """A maker of copies of everything a quantizer holds."""
    return lambda module: {k: v.clone() for k, v in module.state_dict().items()}
