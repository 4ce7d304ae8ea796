"""One worker of `test_workers_scalar`: trains each scenario's quantizer on its part of every batch.

    python two_workers_scalar.py RANK WORLD STORE OUT

STORE is the file the workers meet at, OUT what this one found: name to figures, losses and state.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechvq.quantize.gumbel import GumbelQuantizer
from speechvq.quantize.lookup_free import LFQ, BitEntropy
from speechvq.quantize.scalar import FSQ

DIM, STEPS, BATCH = 4, 2, 4
ENTROPY = BitEntropy(weight=1.0, temperature=1.0)

SCENARIOS = {
    "fsq": lambda: FSQ((5, 4, 3), dim=DIM),
    "lfq": lambda: LFQ(16, entropy=ENTROPY),
    "lfq-projected": lambda: LFQ(32, dim=DIM, entropy=ENTROPY),
    "lfq-masked": lambda: LFQ(32, dim=DIM, entropy=ENTROPY),
    "lfq-uneven": lambda: LFQ(32, dim=DIM, entropy=ENTROPY),
    "lfq-one-idle": lambda: LFQ(32, dim=DIM, entropy=ENTROPY),
    "gumbel": lambda: GumbelQuantizer(DIM, 9, prior=1.0),
    "gumbel-masked": lambda: GumbelQuantizer(DIM, 9, prior=1.0),
}


class Model(nn.Module):
    """A quantizer between two scales that learn; the task weighs every vector alike in all workers."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer
        self.scale = nn.Parameter(torch.ones(DIM, 1))

    def forward(self, z, mask, whole, world):
        out = self.quantizer(z * self.scale, mask)
        # Draws of a Gumbel quantizer differ between workers, so that only its prior can be compared.
        drawn = isinstance(self.quantizer, GumbelQuantizer)
        task = out.vectors.square().sum() * world / whole
        return sum(out.losses.values()) + (0 if drawn else 1) * task, out


def batches(name):
    """The whole batches (z, mask) of a scenario, the same in every worker."""
    generator = torch.Generator().manual_seed(len(name))
    for _ in range(STEPS):
        z = torch.randn(BATCH, DIM, 15, generator=generator)
        mask = torch.ones(BATCH, 15, dtype=torch.bool)
        if name.endswith("masked"):
            mask = torch.arange(15) < torch.tensor([15, 3, 9, 1])[:, None]
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
    """Two steps; then an evaluation that the workers do not all take part in."""
    torch.manual_seed(5)
    model = Model(SCENARIOS[name]())
    torch.manual_seed(5 + rank)
    stepped = model if world == 1 else DistributedDataParallel(model, broadcast_buffers=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    items, stats, losses = part(name, rank, world), {}, []
    for z, mask in batches(name):
        loss, out = stepped(z[items], mask[items], mask.sum(), world)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        stats = out.stats
        losses.append({k: v.detach() for k, v in out.losses.items()})
    if rank == 0:
        model.eval()(z, mask, 1, 1)
    return {"state": model.state_dict(), "stats": stats, "losses": losses}


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
