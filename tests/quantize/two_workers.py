"""One worker of `test_workers`: trains each scenario's quantizer on its part of every batch.

    python two_workers.py RANK WORLD STORE OUT

STORE is the file the workers meet at, OUT what this one found: name to figures and state.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start, VectorQuantizer

DIM, SIZE, STEPS, BATCH = 4, 16, 4, 4
NORMAL = Start(by="normal")
KMEANS = Start(by="kmeans", per_code=10)
NONE = Revival(threshold=0)
EAGER = Revival(threshold=0.5, decay=0.5)
BY_GRADIENT = Learning(by="gradient")

SCENARIOS = {
    "vector": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=NONE),
    "vector-masked": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=NONE),
    "vector-uneven": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=NONE),
    "vector-one-idle": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=NONE),
    "vector-gradient": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=NONE, learning=BY_GRADIENT),
    "vector-kmeans": lambda: VectorQuantizer(DIM, SIZE, start=KMEANS, revival=NONE),
    "vector-kmeans-masked": lambda: VectorQuantizer(DIM, SIZE, start=KMEANS, revival=NONE),
    "vector-data": lambda: VectorQuantizer(DIM, SIZE, start=Start(by="data"), revival=NONE),
    "residual": lambda: ResidualQuantizer(DIM, SIZE, 3, start=NORMAL, revival=NONE),
    "residual-shared": lambda: ResidualQuantizer(DIM, SIZE, 3, shared=True, start=NORMAL, revival=NONE),
    "residual-gradient": lambda: ResidualQuantizer(
        DIM, SIZE, 3, start=NORMAL, revival=NONE, learning=BY_GRADIENT
    ),
    "residual-kmeans": lambda: ResidualQuantizer(DIM, SIZE, 3, start=KMEANS, revival=NONE),
    "residual-shared-kmeans": lambda: ResidualQuantizer(
        DIM, SIZE, 3, shared=True, start=KMEANS, revival=NONE
    ),
    "vector-revival": lambda: VectorQuantizer(DIM, SIZE, start=NORMAL, revival=EAGER),
    "vector-revival-gradient": lambda: VectorQuantizer(
        DIM, SIZE, start=NORMAL, revival=EAGER, learning=BY_GRADIENT
    ),
    "residual-revival": lambda: ResidualQuantizer(DIM, SIZE, 2, start=NORMAL, revival=EAGER),
    "residual-shared-revival": lambda: ResidualQuantizer(
        DIM, SIZE, 2, shared=True, start=NORMAL, revival=EAGER
    ),
}


class Model(nn.Module):
    """A quantizer whose codebook alone learns; its parameter makes every scenario fit for DDP."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, mask):
        out = self.quantizer(z * self.scale, mask)
        return sum(out.losses.values()) + 0 * out.vectors.sum(), out


def batches(name):
    """The whole batches (z, mask) of a scenario, the same in every worker."""
    generator = torch.Generator().manual_seed(len(name))
    for _ in range(STEPS):
        z = torch.randn(BATCH, DIM, 15, generator=generator)
        mask = torch.ones(BATCH, 15, dtype=torch.bool)
        if name.endswith("masked"):
            lengths = torch.tensor([15, 3, 9, 1])
            mask = torch.arange(15) < lengths[:, None]
        if name.endswith("idle"):
            mask[2:] = False
        yield z, mask


def part(name, rank, world):
    """Which items of the batch a worker gets."""
    if world == 1:
        return slice(None)
    cut = 3 if name.endswith("uneven") else BATCH // 2
    return slice(0, cut) if rank == 0 else slice(cut, None)


def train(name, rank, world):
    """Four steps; worker 0's seed is the single process's, the other's differs."""
    torch.manual_seed(5 + rank)
    model = Model(SCENARIOS[name]())
    stepped = model if world == 1 else DistributedDataParallel(model, broadcast_buffers=False)
    codes = list(model.quantizer.parameters())
    optimiser = torch.optim.SGD(codes, lr=2.0) if codes else None
    items, stats = part(name, rank, world), {}
    for z, mask in batches(name):
        loss, out = stepped(z[items], mask[items])
        model.zero_grad()
        loss.backward()
        if optimiser:
            optimiser.step()
        stats = out.stats
    model.quantizer.eval()
    return {"state": model.quantizer.state_dict(), "stats": stats}


def main():
    """Run every scenario and save what came out."""
    rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.save({name: train(name, rank, world) for name in SCENARIOS}, out)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
