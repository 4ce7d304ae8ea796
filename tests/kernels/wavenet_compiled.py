"""Compiles the WaveNet kernel for an H100, with or without one; `test_wavenet_triton` runs it.

Prints a line for each shape: its name, shared memory in bytes, registers a thread and bytes spilled (-1
where ptxas does not say), tensor-core products, and asynchronous copies in its code.
"""

import re
import subprocess
import tempfile
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from speechvq.kernels import wavenet_triton, wavenet_triton_kernels
from speechvq.kernels.wavenet_plain import Network

SHAPES = {
    "32-64-256": (32, 64, 256, 256),
    "64-64-256": (64, 64, 256, 256),
    "64-128-256": (64, 128, 256, 256),
    "128-128-256": (128, 128, 256, 256),
    "32-32-128": (32, 32, 128, 256),
    "64-64-128": (64, 64, 128, 256),
}
"""Residual, gate, skip and post channels; both readings of the sets that nv-wavenet was tested with."""
RUNS = [
    *((name, "bfloat16", 1, {}) for name in SHAPES if name.endswith("-256")),
    ("64-64-128", "bfloat16", 4096, {"TOP_K": 20}),
    ("32-32-128", "float32", 1, {"GREEDY": True}),
    ("128-128-256", "float32", 1, {}),
]


def network(R, G, S, P, *, layers=20, cycle=10, A=256):
    """Zeros of these shapes."""
    shapes = {
        "enter": (A, R), "dilated": (layers, 2 * R, 2 * G), "residual": (layers, G, R),
        "residual_bias": (layers, R), "skip": (layers * G, S), "skip_bias": (S,), "post": (S, P),
        "post_bias": (P,), "last": (P, A), "last_bias": (A,),
    }  # fmt: skip
    zeros: dict[str, Any] = {name: torch.zeros(shape) for name, shape in shapes.items()}
    return Network(**zeros, dilations=tuple(2 ** (i % cycle) for i in range(layers)), levels=A)


def compiled(net, storage, batch, sampling):
    """The kernel for a network and a batch."""
    kernel = wavenet_triton_kernels.speak
    tile = wavenet_triton.tile(net, batch, storage=storage, processors=132)
    constants = {"GREEDY": False, "TOP_K": 0, "FORCED": False, "HEARD": False}
    constants |= tile.constants(net, storage) | sampling
    m = "*bf16" if storage == "bfloat16" else "*fp32"
    types = (
        f"*fp32 {m} {m} *fp32 {m} *fp32 {m} *fp32 {m} *fp32 *fp32 *fp32 *fp32 *i32 *i32 *i32 *fp32".split()
    )
    signature = dict(zip(kernel.arg_names, [*types, *["i32"] * 7, "fp32"], strict=False))
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {argument: signature[argument] for argument in kernel.arg_names}
    hints = {(i,): [["tt.divisibility", 16]] for i in range(len(types))}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=hints)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": tile.warps})


def registers(ptx):
    """Registers a thread and bytes spilled, as ptxas says."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [knobs.nvidia.ptxas.path, "-v", "-arch=sm_90a", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    used, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    return int(used[1]) if used else -1, int(spilled[1]) if spilled else -1


def main():
    """Every shape."""
    for name, storage, batch, sampling in RUNS:
        kernel = compiled(network(*SHAPES[name]), storage, batch, sampling)
        ptx = kernel.asm["ptx"]
        products = ptx.count("wgmma.mma_async") + ptx.count("mma.sync")
        print(f"{name}-{storage}", kernel.metadata.shared, *registers(ptx), products, ptx.count("cp.async.c"))


if __name__ == "__main__":
    main()
