"""The side a check is run on, and what the other library is expected to fail."""

import pytest
import torch

from .adapters import SIDES, Plan
from .peers import FAILS


@pytest.fixture(params=SIDES)
def make(request):
    """A maker: ``make(depth=..., cosine=...)`` gives this side's quantizer for that plan."""
    check = request.function.__name__.removeprefix("test_")
    if request.param != "ours":
        pytest.importorskip("vector_quantize_pytorch")
        if check in FAILS:
            request.applymarker(pytest.mark.xfail(strict=True, reason=FAILS[check]))

    def make(*, seed=0, **plan):
        torch.manual_seed(seed)
        return SIDES[request.param](Plan(**plan))

    make.side = request.param
    return make
