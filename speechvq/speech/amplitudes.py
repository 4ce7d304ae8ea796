"""What an autoregressive speech decoder predicts for one sample: a mu-law level or a mixture of logistics.

Both turn a waveform into integer steps, steps into the network's input, the network's output into
nats per sample, and, in generation, the output and uniform numbers into the next step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.errors import BadSetting
from speechvq.losses.likelihood import (
    categorical_nll,
    grid_levels,
    grid_values,
    logistics_nll,
    sample_logistics,
)
from speechvq.nets.sampling import Sampling, sample
from speechvq.speech.mulaw import mulaw_decode, mulaw_encode


@dataclass(frozen=True)
class Output:
    """What is predicted for one sample.

    Attributes:
        kind: "mulaw" (a category per mu-law level) or "logistics" (a mixture on a linear grid).
        levels: amplitude levels; None is 256 for mulaw and 65536 for logistics.
        mixtures: logistics in the mixture.
        floor: least log scale of a logistic, in units of full scale = 1.
    """

    kind: str = "mulaw"
    levels: int | None = None
    mixtures: int = 10
    floor: float = -12.0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in ("mulaw", "logistics"):
            raise BadSetting(f"a sample is predicted as 'mulaw' or 'logistics', not {self.kind!r}")
        if self.levels is not None and not 2 <= self.levels <= 65536:
            raise BadSetting(f"{self.levels} amplitude levels cannot be predicted; give 2 to 65536")
        if self.mixtures < 1:
            raise BadSetting(f"{self.mixtures} logistics make no mixture; give at least 1")


class Amplitudes(nn.Module, ABC):
    """Interface of the two kinds."""

    channels: int
    """Of the network's output."""
    draws: int
    """Uniform numbers that one sample takes."""

    @abstractmethod
    def steps(self, wave: Tensor) -> Tensor:
        """Samples in [-1, 1] (clamped) to int64 steps, of the same shape."""

    @abstractmethod
    def wave(self, steps: Tensor) -> Tensor:
        """Steps to float32 samples in [-1, 1]."""

    @abstractmethod
    def forward(self, steps: Tensor) -> Tensor:
        """Steps (B, L) to the network's input (B, width, L)."""

    @abstractmethod
    def nll(self, output: Tensor, steps: Tensor) -> Tensor:
        """Nats (B, L) of ``steps`` (B, L) under the network's output (B, channels, L)."""

    @abstractmethod
    def draw(self, output: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor:
        """The next step (B,) from the output (B, channels) and (B, draws) uniform numbers."""


class MuLawAmplitudes(Amplitudes):
    """One category per mu-law level; the input is a learned vector per level (a one-hot 1x1)."""

    def __init__(self, width: int, levels: int = 256) -> None:
        """``width`` channels into the network."""
        super().__init__()
        self.channels, self.levels, self.draws = levels, levels, 1
        self.weight = nn.Parameter(torch.randn(levels, width))
        self.bias = nn.Parameter(torch.zeros(width))

    def steps(self, wave: Tensor) -> Tensor:
        """Nearest mu-law level; silence is levels / 2."""
        return mulaw_encode(wave.float(), levels=self.levels)

    def wave(self, steps: Tensor) -> Tensor:
        """Expanded levels."""
        return mulaw_decode(steps, levels=self.levels)

    def forward(self, steps: Tensor) -> Tensor:
        """(B, L) to (B, width, L)."""
        return (F.embedding(steps, self.weight) + self.bias).transpose(1, 2)

    def nll(self, output: Tensor, steps: Tensor) -> Tensor:
        """Cross entropy."""
        return categorical_nll(output, steps)

    def draw(self, output: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor:
        """Temperature, top-k and top-p act on the levels."""
        return sample(output, sampling, uniforms[:, 0])


class LogisticAmplitudes(Amplitudes):
    """A discretised mixture of logistics; the input is the sample itself."""

    def __init__(self, width: int, levels: int = 65536, *, mixtures: int = 10, floor: float = -12.0) -> None:
        """``width`` channels into the network."""
        super().__init__()
        self.channels, self.levels, self.floor, self.draws = 3 * mixtures, levels, floor, 2
        self.enter = nn.Linear(1, width)

    def steps(self, wave: Tensor) -> Tensor:
        """Nearest of ``levels`` even steps."""
        return grid_levels(wave, levels=self.levels)

    def wave(self, steps: Tensor) -> Tensor:
        """Even steps from -1 to 1."""
        return grid_values(steps, levels=self.levels).float()

    def forward(self, steps: Tensor) -> Tensor:
        """(B, L) to (B, width, L)."""
        return self.enter(self.wave(steps)[..., None]).transpose(1, 2)

    def nll(self, output: Tensor, steps: Tensor) -> Tensor:
        """Discretised mixture likelihood."""
        values = grid_values(steps, levels=self.levels)
        return logistics_nll(output, values, levels=self.levels, floor=self.floor)

    def draw(self, output: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor:
        """Top-k and top-p act on the components; temperature on them and on the scales."""
        component = sample(output[:, : self.channels // 3], sampling, uniforms[:, 0])
        values = sample_logistics(
            output, component, uniforms[:, 1],
            levels=self.levels, floor=self.floor, temperature=sampling.temperature,
        )  # fmt: skip
        return grid_levels(values, levels=self.levels)


def amplitudes(output: Output, width: int) -> Amplitudes:
    """The module that ``output`` describes, with ``width`` channels into the network."""
    if output.kind == "mulaw":
        return MuLawAmplitudes(width, output.levels or 256)
    return LogisticAmplitudes(width, output.levels or 65536, mixtures=output.mixtures, floor=output.floor)
