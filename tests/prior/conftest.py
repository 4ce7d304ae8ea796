"""Small priors of every kind, and how each is asked for a whole row at once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.nets.transformer import Depth
from speechvq.nets.wavenet import Stack
from speechvq.prior import PRIORS, Prior, TransformerPrior, WaveNetPrior

SIZES = {
    "wavenet": Stack(layers=6, stacks=2, residual=16, gate=16, skip=16, post=16, dropout=0.3),
    "transformer": Depth(layers=2, width=16, heads=2, reach=64, dropout=0.3),
}


@pytest.fixture(params=sorted(SIZES))
def prior(request: pytest.FixtureRequest) -> Callable[..., Prior]:
    """``prior(depth, **settings)``: a prior over 7 codes, weights large enough for it to have opinions."""

    def make(depth: int = 1, **more: Any) -> Prior:
        torch.manual_seed(0)
        made = PRIORS[request.param](
            7, **{"num_codebooks": depth, "size": SIZES[request.param]} | more
        ).eval()
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        return made

    return make


def all_logits(net: Prior, before: Tensor, condition: dict[str, Tensor] | None = None) -> Tensor:
    """Without any cache: tokens (B, L) that were read to (B, L, Q)."""
    if isinstance(net, WaveNetPrior):
        return net.net(net._inputs(before), net._conditions(condition, len(before))).transpose(1, 2)
    assert isinstance(net, TransformerPrior)
    # Whole places are asked for, so the row is filled up with what no earlier output can see.
    more = -before.shape[1] % net.num_codebooks
    filled = torch.cat([before, before.new_zeros(len(before), more)], dim=1)
    return net._logits(filled, net._voice(condition, len(before))).transpose(1, 2)[:, : before.shape[1]]


@pytest.fixture
def logits() -> Callable[..., Tensor]:
    """See `all_logits`."""
    return all_logits
