"""One worker of `test_workers`: trains each scenario's quantizer on its part of every batch.

    python two_workers.py RANK WORLD STORE OUT

STORE is the file the workers meet at, OUT what this one found: name to figures and state.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechvq.quantize import (
    Chance,
    Diversity,
    GroupedQuantizer,
    Learning,
    ResidualQuantizer,
    Revival,
    Space,
    Start,
    VectorQuantizer,
)

DIM, SIZE, STEPS, BATCH = 4, 16, 4, 4
NORMAL = Start(by="normal")
KMEANS = Start(by="kmeans", per_code=10)
NONE = Revival(threshold=0)
EAGER = Revival(threshold=0.5, decay=0.5)
BY_GRADIENT = Learning(by="gradient")

COSINE, FACTORISED = Space(metric="cosine"), Space(dim=3)


def vector(**settings):
    """A maker; codes start at random and none are revived, unless told otherwise."""
    return lambda: VectorQuantizer(DIM, SIZE, **({"start": NORMAL, "revival": NONE} | settings))


def residual(depth=3, **settings):
    """The same, of a stack."""
    return lambda: ResidualQuantizer(DIM, SIZE, depth, **({"start": NORMAL, "revival": NONE} | settings))


def grouped(**settings):
    """The same, of two groups."""
    return lambda: GroupedQuantizer(DIM, SIZE, 2, **({"start": NORMAL, "revival": NONE} | settings))


SCENARIOS = {
    "vector": vector(),
    "vector-masked": vector(),
    "vector-uneven": vector(),
    "vector-one-idle": vector(),
    "vector-gradient": vector(learning=BY_GRADIENT),
    "vector-kmeans": vector(start=KMEANS),
    "vector-kmeans-masked": vector(start=KMEANS),
    "vector-data": vector(start=Start(by="data")),
    "vector-debiased": vector(learning=Learning(by="debiased")),
    "vector-debiased-one-idle": vector(learning=Learning(by="debiased")),
    "vector-frozen-kmeans": vector(learning=Learning(by="frozen"), start=KMEANS),
    "vector-cosine": vector(space=COSINE),
    "vector-cosine-kmeans-masked": vector(space=COSINE, start=KMEANS),
    "vector-cosine-gradient": vector(space=COSINE, learning=BY_GRADIENT),
    "vector-factorised": vector(space=FACTORISED),
    "vector-factorised-kmeans": vector(space=FACTORISED, start=KMEANS),
    "vector-factorised-rotation": vector(space=FACTORISED, learning=Learning(estimator="rotation")),
    "vector-affine": vector(space=Space(codes="affine"), learning=BY_GRADIENT),
    "vector-projected": vector(space=Space(codes="projected"), learning=BY_GRADIENT),
    "vector-synchronised": vector(learning=Learning(by="gradient", synchronised=1.0)),
    "vector-diverse": vector(learning=BY_GRADIENT, diversity=Diversity(entropy=0.2, orthogonal=0.2)),
    "vector-diverse-ema": vector(space=FACTORISED, diversity=Diversity(entropy=0.2)),
    "residual": residual(),
    "residual-shared": residual(shared=True),
    "residual-gradient": residual(learning=BY_GRADIENT),
    "residual-kmeans": residual(start=KMEANS),
    "residual-shared-kmeans": residual(shared=True, start=KMEANS),
    "residual-factorised": residual(space=FACTORISED),
    "residual-by-depth": residual(shared=True, order="by-depth", start=KMEANS),
    "grouped": grouped(),
    "grouped-gradient": grouped(learning=BY_GRADIENT),
    "grouped-residual-kmeans-masked": grouped(depth=2, start=KMEANS),
    "vector-revival": vector(revival=EAGER),
    "vector-revival-gradient": vector(revival=EAGER, learning=BY_GRADIENT),
    "vector-revival-cosine": vector(revival=EAGER, space=COSINE),
    "vector-revival-debiased": vector(revival=EAGER, learning=Learning(by="debiased")),
    "vector-revival-affine": vector(revival=EAGER, space=Space(codes="affine"), learning=BY_GRADIENT),
    "residual-revival": residual(2, revival=EAGER),
    "residual-shared-revival": residual(2, shared=True, revival=EAGER),
    "residual-by-depth-revival": residual(2, shared=True, order="by-depth", revival=EAGER),
    "grouped-revival": grouped(depth=2, revival=EAGER),
    "vector-drawn": vector(chance=Chance(temperature=0.5)),
    "residual-dropout": residual(chance=Chance(dropout=0.5), revival=EAGER),
    "residual-dropout-gradient": residual(chance=Chance(dropout=1.0), learning=BY_GRADIENT),
    "residual-dropout-masked": residual(chance=Chance(dropout=0.5), start=KMEANS),
}


class Model(nn.Module):
    """A quantizer that alone learns, with a task; the scale makes every scenario fit for DDP."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, mask):
        out = self.quantizer(z * self.scale, mask)
        return sum(out.losses.values()) + 0.1 * out.vectors.square().mean(), out


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
    items, stats = part(name, rank, world), {}
    start = {k: v.clone() for k, v in model.quantizer.state_dict().items() if v.is_floating_point()}
    for z, mask in batches(name):
        loss, out = stepped(z[items], mask[items])
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in codes:
                p.sub_(p.grad, alpha=2.0)  # torch.optim would take seconds to load
        stats = out.stats
    state = model.quantizer.eval().state_dict()
    moved = sum(float((state[k] - v).abs().sum()) for k, v in start.items() if v.shape == state[k].shape)
    return {"state": state, "stats": stats, "moved": moved}


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
