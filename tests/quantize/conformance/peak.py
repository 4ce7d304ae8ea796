"""How much memory an eval forward takes, in a process of its own.

    python -m tests.quantize.conformance.peak SIDE

prints the rise of the peak over the state before, in units of the N x K float32 matrix of distances.
"""

import sys
from pathlib import Path

import torch

from .adapters import SIDES, Plan

N, K, DIM = 8192, 4096, 64


def resident(key):
    """VmRSS (now) or VmHWM (the most so far) in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def rise():
    """Bytes that one eval forward adds to what the process holds."""
    torch.set_num_threads(1)
    side = SIDES[sys.argv[1]](Plan(dim=DIM, size=K)).eval()
    side.set_codebook(torch.randn(K, DIM))
    x = torch.randn(1, N, DIM)
    with torch.no_grad():
        side(x[:, :64])
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the most so far begins anew
        side(x)
    return resident("VmHWM") - before


if __name__ == "__main__":
    print(rise() / (4 * N * K))
