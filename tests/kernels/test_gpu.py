"""The search on a GPU: interpreted, compiled for a GPU that is not there, and run where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.kernels import gpu, plain

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
needs_triton = pytest.mark.skipif(not gpu._has_triton(), reason="needs Triton")
SIZES = [(4096, 1024, 64), (32768, 16384, 64), (32768, 1024, 256), (5000, 1000, 8), (999, 77, 300)]
SHARED_MEMORY = 227 * 1024  # of one program on an H100


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


@needs_triton
def test_the_kernels_in_the_interpreter():
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning"]
    run("-m", "pytest", *options, str(HERE / "interpreted.py"), TRITON_INTERPRET="1")


def test_imports_and_declines_without_triton():
    """A stand-in that cannot be imported, as where the library is missing or broken."""
    program = """
import sys
sys.modules["triton"] = None
import torch
from speechvq.kernels import gpu
assert not gpu.usable(torch.zeros(3, 4))
assert "speechvq.kernels.gpu_kernels" not in sys.modules
assert not gpu._has_triton()
"""
    run("-c", program)


def test_declines_what_it_cannot_search():
    assert not gpu.usable(torch.zeros(3, 4))
    assert not gpu.usable(torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(BadSetting, match="float32, tf32, bfloat16"):
        gpu.nearest(torch.zeros(3, 4), torch.zeros(2, 4), precision="float16")


@pytest.mark.parametrize("rows", [1, 4096, 32768, 1 << 20])
@pytest.mark.parametrize("dim", [1, 8, 20, 64, 128, 256, 257, 2048])
@pytest.mark.parametrize("tf32", [False, True])
def test_tiles_fit(rows, dim, tf32):
    """A block of channels is a power of two, of at least 16, and the stages fit the shared memory."""
    tile = gpu.sift_tile(rows, dim, processors=132, tf32=tf32)
    for t in (tile, gpu.exact_tile(rows, processors=132, listed=tf32)):
        assert t.channels >= 16
        assert t.channels & (t.channels - 1) == 0
        assert t.rows * gpu.CODES == 64 * 32 * t.warps or t.rows == 32
    size = (4 if tf32 else 2) * tile.channels
    assert size * (gpu.CODES * tile.stages + tile.rows) <= SHARED_MEMORY


@needs_triton
def test_compiles_for_an_h100(tmp_path):
    """With the compiler inside Triton, which needs no GPU; products go where they should."""
    output = run(str(HERE / "compiled.py"), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    lines = [line.split() for line in output.splitlines()]
    assert [name for name, *_ in lines] == ["exact", "exact", "sift", "sift"]
    for name, shared, multiplies, wgmma, flushes in lines:
        assert int(shared) <= SHARED_MEMORY
        assert int(flushes) == 0  # a flushed number would make ties of what the proof tells apart
        assert (int(multiplies) >= 512 and int(wgmma) == 0) if name == "exact" else int(wgmma) > 0


@needs_cuda
@pytest.mark.parametrize(("n", "k", "d"), SIZES)
@pytest.mark.parametrize("precision", gpu.PRECISIONS)
def test_on_a_gpu(n, k, d, precision):
    torch.manual_seed(0)
    x, codes = torch.randn(n, d, device="cuda"), torch.randn(k, d, device="cuda")
    assert gpu.usable(x)
    found = gpu.nearest(x, codes, precision=precision)
    assert torch.equal(found, gpu.nearest(x, codes))
    want = plain.nearest(x.double(), codes.double())
    assert (found != want).float().mean() < 1e-3
    near, least = ((x - codes[i]).double().square().sum(1) for i in (found, want))
    assert (near <= least * (1 + 1e-5) + 1e-5).all()
    whole = torch.randint(-3, 4, (n, d), device="cuda").float(), torch.randint(-3, 4, (k, d)).cuda().float()
    want = plain.nearest(whole[0].cpu(), whole[1].cpu())
    assert torch.equal(gpu.nearest(*whole, precision=precision).cpu(), want)
    across = x.T.contiguous().T
    assert torch.equal(gpu.nearest(across, codes, precision=precision), found)


@needs_cuda
@pytest.mark.parametrize("precision", gpu.PRECISIONS)
def test_in_a_cuda_graph(precision):
    torch.manual_seed(0)
    x, codes = torch.randn(4096, 64, device="cuda"), torch.randn(1024, 64, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        gpu.nearest(x, codes, precision=precision)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = gpu.nearest(x, codes, precision=precision)
    x.copy_(torch.randn(4096, 64))
    codes.copy_(torch.randn(1024, 64))
    graph.replay()
    assert torch.equal(found, gpu.nearest(x, codes))


@needs_cuda
@pytest.mark.parametrize("precision", gpu.PRECISIONS)
def test_takes_no_memory_that_grows_with_all_pairs(precision):
    x, codes = torch.randn(32768, 64, device="cuda"), torch.randn(16384, 64, device="cuda")
    gpu.nearest(x, codes, precision=precision)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gpu.nearest(x, codes, precision=precision)
    assert torch.cuda.max_memory_allocated() - before < 6 * codes.numel() * 4 + 64 * len(x)
