"""How much memory a quantizer takes, in a process of its own.

    python -m tests.quantize.conformance.peak SIDE WHAT,WHAT...

prints, for each WHAT, the rise of the peak over the state before, in units of the N x K float32 matrix
of distances: "eval", a forward pass; and, of this library alone and with 8 channels, "training",
"residual" (a stack of two) and "entropy" (that loss), each a forward and a backward pass.
"""

import sys
from pathlib import Path

import torch

from speechvq.quantize import Diversity, Learning, ResidualQuantizer, Start, VectorQuantizer

from .adapters import SIDES, Plan

N, K, DIM = 8192, 4096, 64
NORMAL = Start(by="normal")
OF_OURS = {
    "training": lambda: VectorQuantizer(8, K, start=NORMAL),
    "residual": lambda: ResidualQuantizer(8, K, 2, start=NORMAL, learning=Learning(by="gradient")),
    "entropy": lambda: VectorQuantizer(8, K, start=NORMAL, diversity=Diversity(entropy=0.1)),
}


def resident(key):
    """VmRSS (now) or VmHWM (the most so far) in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def rise(run, x):
    """Bytes that ``run(x)`` adds to what the process holds, once it has run on a little."""
    run(x[..., :64])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most so far begins anew
    run(x)
    return resident("VmHWM") - before


def step(quantizer):
    """A forward and a backward pass."""

    def run(x):
        out = quantizer(x.requires_grad_())
        (out.vectors.sum() + sum(out.losses.values())).backward()

    return run


def main():
    """Measure what is asked for."""
    torch.set_num_threads(1)
    x = torch.randn(1, DIM, N)
    for what in sys.argv[2].split(","):
        if what == "eval":
            side = SIDES[sys.argv[1]](Plan(dim=DIM, size=K)).eval()
            side.set_codebook(torch.randn(K, DIM))
            with torch.no_grad():
                found = rise(lambda x, side=side: side(x.mT), x)
        else:
            found = rise(step(OF_OURS[what]()), x[:, :8].clone())
        print(found / (4 * N * K))


if __name__ == "__main__":
    main()
