"""The WaveNet kernel for a GPU: interpreted, compiled for a GPU that is not there, run where there is one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.kernels import wavenet_triton
from speechvq.kernels.wavenet_triton import Tile, decode, takes, tile, usable
from speechvq.kernels.wavenet_weights import Past, Weights
from speechvq.nets.wavenet import Stack, WaveNet

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
needs_triton = pytest.mark.skipif(not wavenet_triton._has_triton(), reason="needs Triton")
SHARED_MEMORY = 227 * 1024  # of one program on an H100


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def weights(dtype=torch.bfloat16, levels=256, **stack):
    net = WaveNet(Stack(**{"layers": 20, "stacks": 2} | stack), levels)
    return Weights.of(net, torch.randn(levels, net.stack.residual)).to("cpu", dtype)


@needs_triton
def test_the_kernel_in_the_interpreter():
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning"]
    run("-m", "pytest", *options, str(HERE / "wavenet_interpreted.py"), TRITON_INTERPRET="1")


@needs_triton
def test_compiles_for_an_h100(tmp_path):
    """All channel sets: shared memory suffices, products are on the tensor cores, weights come ahead."""
    output = run(str(HERE / "wavenet_compiled.py"), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    lines = [line.split() for line in output.splitlines()]
    assert len(lines) == 7
    for name, shared, _, spilled, products, copies in lines:
        assert int(shared) <= SHARED_MEMORY
        assert int(spilled) <= 1024
        assert int(products) >= 20
        assert int(copies) >= 20 or name == "128-128-256-float32"  # which fits one turn at a time only


def test_imports_and_declines_without_triton():
    program = """
import sys
sys.modules["triton"] = None
import torch
from speechvq.kernels import wavenet_triton
assert not wavenet_triton.usable(torch.device("cpu"))
assert "speechvq.kernels.wavenet_triton_kernels" not in sys.modules
"""
    run("-c", program)
    assert not usable(torch.device("cpu"))


def test_networks_it_does_not_take_are_named_with_the_reason():
    assert takes(weights()) is None
    assert takes(weights(torch.float32, layers=40, stacks=4)) is None
    assert "not all powers of two" in str(takes(weights(residual=48)))
    assert "not all powers of two" in str(takes(weights(levels=30)))
    assert "kernel is 3 wide" in str(takes(weights(kernel=3)))
    assert "float16" in str(takes(weights(torch.float16)))
    odd = replace(weights(layers=4, stacks=2), dilations=(1, 2, 4, 3))
    assert "dilations are not" in str(takes(odd))
    w = weights(kernel=3)
    with pytest.raises(BadSetting, match="kernel is 3 wide, not 2; use the CUDA graph"):
        decode(w, torch.zeros(1, 1, 20, 128), torch.zeros(1, 4), Past.start(w, 1), hop=4)
    w = weights()
    with pytest.raises(ValueError, match="5 samples do not fit 1 columns"):
        decode(w, torch.zeros(1, 1, 20, 128), torch.zeros(1, 5), Past.start(w, 1), hop=4)


@pytest.mark.parametrize(("batch", "utterances"), [(1, 8), (132, 8), (1024, 8), (1057, 16), (10000, 32)])
def test_tiles(batch, utterances):
    for dtype in wavenet_triton.DTYPES:
        for gate in (32, 64, 128):
            w = weights(dtype, gate=gate)
            chosen = tile(w, batch, processors=132)
            assert chosen.utterances == utterances
            assert gate % chosen.chunk == 0
            held = chosen.stages * chosen.chunk * (5 * 64 + 256) * w.dilated.element_size()
            assert held <= wavenet_triton.SHARED or chosen.stages == 1


def test_weights_are_those_of_the_network():
    net = WaveNet(Stack(layers=6, stacks=2, residual=32, gate=16, skip=64, post=128, kernel=3), 256)
    w = Weights.of(net, torch.randn(256, 32))
    assert w.channels == (32, 16, 64, 128, 256)
    assert (w.layers, w.taps, w.dilations) == (6, 3, (1, 2, 4, 1, 2, 4))
    assert torch.equal(w.dilated[2, 0], net.dilated[2].weight[:, :, 0])
    # Every weight of a layer but the gates' bias and the conditions is multiplied once a sample.
    assert w.numbers == 6 * (3 * 32 * 32 + 16 * (32 + 64)) + 64 * 128 + 128 * 256
    assert Past.start(w, 5).rings.shape == (2 * 14 + 6, 5, 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", wavenet_triton.DTYPES)
def test_on_a_gpu(dtype):
    """Against the plain step on the same device: nearly every level, for a while, is the same."""
    from speechvq.kernels.wavenet_graph import Step

    w = weights(dtype).to("cuda")
    conditions, uniforms = torch.randn(9, 4, 20, 128, device="cuda"), torch.rand(9, 64, device="cuda")
    levels = decode(w, conditions, uniforms, Past.start(w, 9), hop=16)
    want = Step(w.to("cuda", torch.float32), 9).decode(conditions, uniforms, Past.start(w, 9), hop=16)
    assert (levels == want).float().mean() > 0.8
    again = decode(w, conditions, uniforms, Past.start(w, 9), hop=16, tile=Tile(16, 32, 4, 1))
    assert (levels == again).float().mean() > 0.8
