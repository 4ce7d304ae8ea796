"""The optimiser's settings, and the learning rate as a function of the step and nothing else.

A linear warm-up, then half a cosine down to a share of the top (Loshchilov and Hutter, "SGDR", 2017).
Weights of linear, convolutional and recurrent layers decay. Biases, norms, positions, the vectors of
embeddings and of codebooks do not, as in GPT.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from speechvq.errors import BadSetting

WEIGHING = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, ParametrizationList)
"""Layers whose weights decay; the last are the weights of such layers in another form."""


@dataclass(frozen=True)
class Optimiser:
    """AdamW (Loshchilov and Hutter 2019) with a schedule; each part of an objective has one."""

    lr: float = 3e-4  # learning rate after the warm-up
    betas: tuple[float, float] = (0.9, 0.99)  # decays of the first and second moment
    weight_decay: float = 0.01  # decoupled; for the weights of layers only
    warmup: int = 200  # steps until the learning rate is reached
    final: float = 0.05  # share of it that is left at the last step
    clip: float = 1.0  # greatest norm of a part's gradient; 0 for any
    accumulate: int = 1  # batches whose gradients are averaged in one step

    def __post_init__(self) -> None:
        if not self.lr > 0 or not all(0 <= b < 1 for b in self.betas):
            raise BadSetting(f"optimiser.lr ({self.lr}) must be above 0, its betas {self.betas} in [0, 1)")
        if self.weight_decay < 0 or self.clip < 0 or not 0 <= self.final <= 1:
            raise BadSetting("optimiser.weight_decay and clip must be at least 0, final in [0, 1]")
        if self.warmup < 0 or self.accumulate < 1:
            raise BadSetting("optimiser.warmup must be at least 0, accumulate at least 1")

    def share(self, step: int, steps: int) -> float:
        """Of the learning rate, at ``step`` (the first is 0) out of ``steps``: in [0, 1]."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        done = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def build(self, part: nn.Module, *, lr: float | None = None) -> torch.optim.AdamW:
        """AdamW over what learns of a part, at its own ``lr`` if one is given.

        A checkpoint of the time when all but vectors decayed is gone on with as it began.
        """
        learning = [p for p in part.parameters() if p.requires_grad]
        layers = [layer for layer in part.modules() if isinstance(layer, WEIGHING)]
        weights = {p for layer in layers for p in layer.parameters(recurse=False) if p.dim() > 1}
        base = self.lr if lr is None else lr
        groups = [
            {"params": some, "weight_decay": decay, "base": base}
            for some, decay in zip(_split(learning, weights), (self.weight_decay, 0.0), strict=True)
        ]
        betas = (self.betas[0], self.betas[1])
        made = torch.optim.AdamW([g for g in groups if g["params"]], lr=base, betas=betas, fused=True)
        before = [some for some in _split(learning, {p for p in learning if p.dim() > 1}) if some]

        def as_it_began(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
            if [len(group["params"]) for group in state["param_groups"]] == [len(some) for some in before]:
                # Sizes are those of now only where the groups are, too.
                first = optimiser.param_groups[0]
                optimiser.param_groups[:] = [first | {"params": some} for some in before]

        made.register_load_state_dict_pre_hook(as_it_began)
        return made


def _split(parameters: list[nn.Parameter], chosen: set[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Those that are chosen, and the others."""
    return [[p for p in parameters if (p in chosen) == wanted] for wanted in (True, False)]


def set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Let every group learn at ``share`` of its own rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * share
