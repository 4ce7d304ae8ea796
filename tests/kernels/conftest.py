"""The instruction sets of the compiled library, for tests that go through all of them."""

import pytest

from speechvq.errors import BadSetting
from speechvq.kernels import native, wavenet_cpu


@pytest.fixture(params=native.KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set in turn; those this processor lacks are skipped."""
    monkeypatch.setenv(native.VARIABLE, request.param)
    try:
        assert wavenet_cpu.name() == request.param
    except BadSetting as error:
        pytest.skip(str(error))
    return request.param
