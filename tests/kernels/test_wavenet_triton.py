"""The WaveNet kernel for a GPU: interpreted, compiled for a GPU that is not there, run where there is one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.kernels import wavenet_plain, wavenet_triton
from speechvq.kernels.wavenet_plain import Draw, Network, start
from speechvq.kernels.wavenet_triton import STORAGES, Tile, TritonWaveNet, takes, tile, usable

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


def network(R=64, G=64, S=256, P=256, A=256, *, taps=2, layers=20, cycle=10):
    shapes = {
        "enter": (A, R), "dilated": (layers, taps * R, 2 * G), "residual": (layers, G, R),
        "residual_bias": (layers, R), "skip": (layers * G, S), "skip_bias": (S,), "post": (S, P),
        "post_bias": (P,), "last": (P, A), "last_bias": (A,),
    }  # fmt: skip
    tensors = {
        name: torch.randn(shape) / shape[-2 if len(shape) > 1 else -1] ** 0.5
        for name, shape in shapes.items()
    }
    return Network(**tensors, dilations=tuple(2 ** (i % cycle) for i in range(layers)), levels=A)


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
from speechvq.kernels import wavenet_plain, wavenet_triton
assert not wavenet_triton.usable(torch.device("cpu"))
assert "speechvq.kernels.wavenet_triton_kernels" not in sys.modules
"""
    run("-c", program)
    assert not usable(torch.device("cpu"))


def test_networks_it_does_not_take_are_named_with_the_reason():
    assert takes(network()) is None
    assert takes(network(layers=40)) is None
    assert "not all powers of two" in str(takes(network(R=48)))
    assert "not all powers of two" in str(takes(network(A=30)))
    assert "kernel is 3 wide" in str(takes(network(taps=3)))
    assert "top-p" in str(takes(network(), Draw(top_p=0.9)))
    odd = replace(network(layers=4), dilations=(1, 2, 4, 3))
    assert "dilations are not" in str(takes(odd))
    assert "mixtures" in str(takes(replace(odd, mixtures=10)))


def test_what_cannot_be_is_refused_in_a_sentence():
    with pytest.raises(BadSetting, match="speak for this WaveNet: its kernel is 3 wide, not 2"):
        TritonWaveNet(network(taps=3), device="cpu")
    with pytest.raises(BadSetting, match="'int4'; choose one of bfloat16, float32"):
        TritonWaveNet(network(), storage="int4", device="cpu")
    kernel, past = TritonWaveNet(network(), device="cpu"), start(network(), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="5 samples cannot share 2 columns"):
        kernel.decode(past, torch.zeros(1, 20, 128, 2), torch.zeros(1, 5, 1))
    with pytest.raises(BadSetting, match="top-p"):
        kernel.decode(past, torch.zeros(1, 20, 128, 1), torch.zeros(1, 5, 1), Draw(top_p=0.5))


@pytest.mark.parametrize(("batch", "utterances"), [(1, 8), (132, 8), (1024, 8), (1057, 16), (10000, 32)])
def test_tiles(batch, utterances):
    for storage, dtype in STORAGES.items():
        for gate in (32, 64, 128):
            chosen = tile(network(G=gate), batch, storage=storage, processors=132)
            assert chosen.utterances == utterances
            assert gate % chosen.chunk == 0
            held = chosen.stages * chosen.chunk * (5 * 64 + 256) * dtype.itemsize
            assert held <= wavenet_triton.SHARED or chosen.stages == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("run", [None, Tile(16, 32, 4, 1)])
def test_on_a_gpu(storage, run):
    """After the same past the network says what it says in double precision."""
    net = network()
    rounded = {
        k: v.to(STORAGES[storage]).float() for k, v in net.tensors.items() if v.dim() > 1 and k != "enter"
    }
    net = replace(net, **{k: v for k, v in rounded.items() if k != "residual_bias"})
    conditions, uniforms = torch.randn(9, 20, 128, 4), torch.rand(9, 48, 1)
    kernel = TritonWaveNet(net, storage=storage, tile=run)
    before = torch.full((9,), 128)
    said = kernel.decode(start(net, before), conditions, uniforms, logits=True)
    plain = net.to(torch.float64)
    forced = said.steps.cpu()
    want = wavenet_plain.decode(plain, start(plain, before), conditions.double(), uniforms, forced_NT=forced)
    assert (said.logits.cpu() - want.logits).abs().max() < 1e-3 * want.logits.abs().max()
    assert (forced != want.steps).float().mean() < 0.01
