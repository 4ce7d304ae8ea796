"""Batches for the loop, and what the product loses on held-out ones."""

import signal
from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from speechvq.codec import Batch
from speechvq.train.checkpoint import undisturbed
from speechvq.train.objective import Objective
from speechvq.train.run import gathered
from speechvq.train.sampler import Key, Order, Resumable
from speechvq.train.task import Data


def endless(data: Data, order: Order, *, first: int, workers: int) -> Iterator[Batch]:
    """Batch number ``first`` of this process, the next one, and so on."""
    loader = DataLoader(
        data,  # pyright: ignore[reportArgumentType]
        batch_sampler=Resumable(order, first),  # pyright: ignore[reportArgumentType]
        collate_fn=data.collate,
        num_workers=workers,
        worker_init_fn=_quiet,
        generator=torch.Generator(),  # its own, so that asking for a loader draws nothing from training
    )
    return iter(loader)


def held_out(data: Data, *, batch_size: int, most: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """This process's share of the first ``most`` batches of ``batch_size`` items."""
    keys: list[Key] = [(0, i) for i in range(min(len(data), most * batch_size))][rank::world]
    share = max(1, batch_size // world)
    for begin in range(0, len(keys), share):
        yield data.collate([data[key] for key in keys[begin : begin + share]])


@torch.no_grad()
def evaluate(
    fabric: Fabric, objective: Objective, product: nn.Module, data: Data, *, batch_size: int, most: int
) -> dict[str, float]:
    """Mean of "loss" and of each named loss over held-out items, of all processes; training undisturbed."""
    sums: dict[str, float] = {}
    items = 0
    modes = [(part, part.training) for part in product.modules()]
    product.eval()
    with undisturbed(), fabric.autocast():
        batches = held_out(
            data, batch_size=batch_size, most=most, rank=fabric.global_rank, world=fabric.world_size
        )
        for batch in batches:
            outcome = objective.judge(product, batch.to(fabric.device))
            count = len(batch.signal)
            items += count
            for name, value in {"loss": outcome.loss, **outcome.losses}.items():
                sums[name] = sums.get(name, 0.0) + count * float(value)
    for part, training in modes:
        part.training = training
    everyone = gathered((sums, items))
    total = sum(count for _, count in everyone)
    return {name: sum(own.get(name, 0.0) for own, _ in everyone) / total for name in everyone[0][0]}


def _quiet(worker: int) -> None:
    """Ctrl-C reaches the loaders too, but the loop is to end in order and still needs them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
