"""The side a check is run on, and what the other library is expected to fail."""

import os
import subprocess
import sys
from functools import cache

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


@pytest.fixture(scope="session")
def peaks(checkout):
    """``peaks(side, what)``: to how many N x K matrices the memory rose; see `peak`."""

    @cache
    def peaks(side, what):
        ran = subprocess.run(
            [sys.executable, "-m", "tests.quantize.conformance.peak", side, what],
            # What is freed goes back to the system, so that the peak is of what is held, not of holes.
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
            cwd=checkout, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return dict(zip(what.split(","), map(float, ran.stdout.split()), strict=True))

    return peaks
