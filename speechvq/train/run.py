"""Everything that changes in a run, in one place: what a checkpoint holds is what `Run` has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from speechvq.errors import BadCheckpoint
from speechvq.train.board import CodeUse
from speechvq.train.checkpoint import random_state, set_random_state
from speechvq.train.objective import Objective, Outcome
from speechvq.train.settings import Settings


class Run:
    """A run's weights, optimisers, averages, position and counts.

    Attributes:
        objective: set up by Fabric; ``bare`` is the module itself.
        optimisers: by part.
        average: the product with averaged weights, or None.
        step: optimiser steps done.
        best: lowest held-out loss so far.
        use: which codes were used this epoch.
    """

    def __init__(self, fabric: Fabric, objective: Objective, settings: Settings) -> None:
        """Move to the device and wrap for all processes."""
        self.fabric, self.bare = fabric, objective
        named = objective.optimisers(settings.optimiser)
        wrapped, *optimisers = fabric.setup(objective, *named.values())
        self.objective: Any = wrapped
        self.optimisers: dict[str, Any] = dict(zip(named, optimisers, strict=True))
        self.average = None
        if settings.runtime.ema:
            # Buffers, such as a codebook that is a moving average already, are copied, not averaged.
            rule = get_ema_multi_avg_fn(settings.runtime.ema)
            self.average = AveragedModel(objective.product, multi_avg_fn=rule, use_buffers=False)
        self.step, self.best, self.use = 0, float("inf"), CodeUse()

    @property
    def product(self) -> nn.Module:
        """What is judged and exported: the averaged weights, if there are any."""
        return self.bare.product if self.average is None else self.average.module

    def follow(self, outcomes: list[Outcome], epoch: int) -> None:
        """After a step: count it and its codes, and let the average follow."""
        self.step += 1
        for outcome in outcomes:
            self.use.add(outcome.codes, epoch)
        if self.average is not None:
            _fit_buffers(self.average.module, self.bare.product)
            self.average.update_parameters(self.bare.product)

    def export(self, folder: Path, card: str) -> Path:
        """Write the product's model folder into ``folder``; return where."""
        place = folder / self.bare.label
        self.product.save_pretrained(place, card=card)  # pyright: ignore[reportCallIssue]
        return place

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; every process must ask, because each has its own randomness."""
        return {
            "step": self.step,
            "best": self.best,
            "objective": self.bare.state_dict(),
            "optimisers": {name: one.state_dict() for name, one in self.optimisers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "use": self.use.state_dict(),
            "random": gathered(random_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint.

        Raises:
            BadCheckpoint: it is of another model, or of another number of processes.
        """
        if len(state["random"]) != self.fabric.world_size:
            raise BadCheckpoint(
                f"the checkpoint is of {len(state['random'])} processes, and there are "
                f"{self.fabric.world_size}; resume with as many as there were"
            )
        if (state["average"] is None) != (self.average is None):
            raise BadCheckpoint("the checkpoint and runtime.ema do not agree on whether weights are averaged")
        try:
            self.bare.load_state_dict(state["objective"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadCheckpoint(f"the checkpoint does not fit the settings' model ({reason})") from error
        self.step, self.best = state["step"], state["best"]
        self.use.load_state_dict(state["use"], self.fabric.device)
        set_random_state(state["random"][self.fabric.global_rank])


def gathered(value: Any) -> list[Any]:
    """``value`` of every process, in their order, on every process."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _fit_buffers(copy: nn.Module, source: nn.Module) -> None:
    """Give the copy's buffers the sizes of the source's: a quantizer collects its first vectors in one."""
    for own, other in zip(copy.buffers(), source.buffers(), strict=True):
        if own.shape != other.shape:
            own.data = torch.empty_like(other)
