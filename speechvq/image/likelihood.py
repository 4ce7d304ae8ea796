"""What a decoder says of a picture: a distribution over the 256 levels of every value, chosen by name.

Each is a probability of the stored integers, not a density, so that nats of pictures add up with nats of
codes to a true upper bound of -log p(picture) (`speechvq.image.bits`). Pictures are (B, C, H, W) in
[-1, 1] and are taken to the nearest level. B batch, C colour channels, M mixture components, H and W
pixels.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.losses.likelihood import gaussian_log_mass, grid_levels, grid_values, logistic_log_mass
from speechvq.table import Table

LEVELS = 256


class Likelihood(nn.Module, ABC):
    """Interface of a distribution over pictures whose values are independent given the output.

    The precision is that of the output: float64 for figures, float32 in training.
    """

    width: int
    """Output channels that it reads."""
    loss_name = "picture/nll"
    spec: dict[str, Any]

    @abstractmethod
    def nats(self, output: Tensor, picture: Tensor) -> Tensor:
        """Nats of every pixel, all of its channels together: (B, width, H, W) to (B, H, W)."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """The expected picture (B, C, H, W), differentiable."""

    @abstractmethod
    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """A picture (B, C, H, W) on the grid of levels, from a generator on the CPU."""

    def loss(self, output: Tensor, picture: Tensor) -> Tensor:
        """What training minimises at every pixel, (B, H, W): nats per value, unless told otherwise."""
        return self.nats(output, picture) / picture.shape[1]


LIKELIHOODS: Table[Likelihood] = Table("likelihood")


@LIKELIHOODS.register("gaussian")
class Gaussian(Likelihood):
    """The output is the mean; the deviation is one number for each channel, given or learned."""

    log_scale: Tensor

    def __init__(self, colours: int, *, scale: float | None = None) -> None:
        """``scale`` is the standard deviation where [-1, 1] is the whole range; None learns it.

        Learned, it comes to the root of the mean squared error (Rybkin et al. 2021, sigma-VAE).
        """
        super().__init__()
        if scale is not None and not scale > 0:
            raise BadSetting(f"the Gaussian's scale is {scale}; give a positive number, or null to learn it")
        self.width = colours
        start = torch.full((colours, 1, 1), math.log(0.5 if scale is None else scale))
        if scale is None:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start, persistent=False)

    def nats(self, output: Tensor, picture: Tensor) -> Tensor:
        """See `Likelihood.nats`."""
        target, log_scale = _snapped(picture, output), self.log_scale.to(output.dtype)
        return -gaussian_log_mass(target, output, log_scale, levels=LEVELS).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return output.clamp(-1, 1)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """See `Likelihood.draw`."""
        noise = torch.randn(output.shape, generator=generator).to(output)
        return _snapped(output + self.log_scale.exp() * noise, output)


@LIKELIHOODS.register("nmse")
class NormalisedError(Likelihood):
    """Squared error over the variance of the data, as Sonnet's example trains.

    That is a Gaussian of half this variance but for a constant, and as such its nats are counted.
    """

    loss_name = "picture/nmse"

    def __init__(self, colours: int, *, variance: float) -> None:
        """``variance`` of the training pictures in [-1, 1]; of CIFAR-10 it is 0.2531."""
        super().__init__()
        if not variance > 0:
            raise BadSetting(f"the variance of the data is {variance}; it must be above 0")
        self.width, self.variance = colours, variance
        self.gaussian = Gaussian(colours, scale=math.sqrt(variance / 2))

    def nats(self, output: Tensor, picture: Tensor) -> Tensor:
        """See `Likelihood.nats`."""
        return self.gaussian.nats(output, picture)

    def mean(self, output: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return self.gaussian.mean(output)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """See `Likelihood.draw`."""
        return self.gaussian.draw(output, generator)

    def loss(self, output: Tensor, picture: Tensor) -> Tensor:
        """Normalised squared error of every pixel, mean over its channels."""
        return (output - picture).square().mean(1) / self.variance


@LIKELIHOODS.register("logistics")
class Logistics(Likelihood):
    """Discretised mixture of logistics (Salimans et al. 2017, PixelCNN++, section 2.1 and 2.2).

    A pixel's channels share the component; the mean of a channel moves in proportion to the values of
    the channels before it. Output: M logits, C M means, C M log scales, C (C - 1) / 2 M proportions.
    """

    def __init__(self, colours: int, *, mixtures: int = 5, floor: float = -7.0) -> None:
        """``mixtures`` components (10 in the paper) with log scales of at least ``floor``."""
        super().__init__()
        if mixtures < 1:
            raise BadSetting(f"a mixture of {mixtures} logistics is none; give at least 1")
        self.colours, self.mixtures, self.floor = colours, mixtures, floor
        self.width = mixtures * (1 + 2 * colours + colours * (colours - 1) // 2)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log weights (B, M, H, W); means, log scales (B, C, M, H, W); proportions (B, pairs, M, H, W)."""
        C, M = self.colours, self.mixtures
        logits, rest = output.split([M, self.width - M], dim=1)
        rest = rest.unflatten(1, (-1, M))
        means, log_scales, pulls = rest.split([C, C, rest.shape[1] - 2 * C], dim=1)
        return logits.log_softmax(1), means, log_scales.clamp(min=self.floor), pulls.tanh()

    def _means(self, means: Tensor, pulls: Tensor, values: list[Tensor], channel: int) -> Tensor:
        """Of one channel, given the ``values`` of those before it, each (B, M or 1, H, W): (B, M, H, W)."""
        first = channel * (channel - 1) // 2
        moved = means[:, channel]
        for before, value in enumerate(values[:channel]):
            moved = moved + pulls[:, first + before] * value
        return moved

    def nats(self, output: Tensor, picture: Tensor) -> Tensor:
        """See `Likelihood.nats`."""
        weights, means, log_scales, pulls = self._split(output)
        values = list(_snapped(picture, output)[:, :, None].unbind(1))
        for channel, value in enumerate(values):
            mean = self._means(means, pulls, values, channel)
            weights = weights + logistic_log_mass(value, mean, log_scales[:, channel], levels=LEVELS)
        return -weights.logsumexp(1)

    def mean(self, output: Tensor) -> Tensor:
        """See `Likelihood.mean`; that of the mixture before its tails are folded onto the grid's ends."""
        weights, means, _, pulls = self._split(output)
        values: list[Tensor] = []
        for channel in range(self.colours):
            values.append(self._means(means, pulls, values, channel))
        return (torch.stack(values, 1) * weights.exp()[:, None]).sum(2).clamp(-1, 1)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """See `Likelihood.draw`."""
        weights, means, log_scales, pulls = self._split(output)
        B, M, H, W = weights.shape
        uniform = torch.rand(B, 1 + self.colours, H, W, generator=generator, dtype=torch.float64)
        uniform = uniform.to(output.device)
        chosen = _category(weights, uniform[:, :1])
        values: list[Tensor] = []
        for channel in range(self.colours):
            mean = self._means(means, pulls, values, channel).gather(1, chosen)
            scale = log_scales[:, channel].gather(1, chosen).exp()
            logit = torch.logit(uniform[:, 1 + channel : 2 + channel], eps=1e-12).to(output.dtype)
            values.append(_snapped(mean + scale * logit, output))
        return torch.cat(values, 1)


@LIKELIHOODS.register("categorical")
class Categorical(Likelihood):
    """256 logits for every value: any shape of distribution, and nothing known of the levels' order."""

    def __init__(self, colours: int) -> None:
        super().__init__()
        self.width = LEVELS * colours

    def nats(self, output: Tensor, picture: Tensor) -> Tensor:
        """See `Likelihood.nats`."""
        logits = output.unflatten(1, (-1, LEVELS)).transpose(1, 2)
        return F.cross_entropy(logits, grid_levels(picture, levels=LEVELS), reduction="none").sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        shares = output.unflatten(1, (-1, LEVELS)).softmax(2)
        values = grid_values(torch.arange(LEVELS, device=output.device), levels=LEVELS).to(output)
        return torch.einsum("bclhw,l->bchw", shares, values)

    def draw(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """See `Likelihood.draw`."""
        logits = output.unflatten(1, (-1, LEVELS)).flatten(0, 1)
        uniform = torch.rand(len(logits), 1, *logits.shape[2:], generator=generator, dtype=torch.float64)
        steps = _category(logits.log_softmax(1), uniform.to(output.device))
        return grid_values(steps, levels=LEVELS).to(output).view(len(output), -1, *output.shape[2:])


def _snapped(picture: Tensor, like: Tensor) -> Tensor:
    """Values on the nearest level, in the precision of ``like``."""
    return grid_values(grid_levels(picture, levels=LEVELS), levels=LEVELS).to(like)


def _category(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Inverse of the distribution function over axis 1: (B, Q, H, W) and (B, 1, H, W) to (B, 1, H, W)."""
    upto = log_weights.double().exp().cumsum(1)
    return (upto < uniform * upto[:, -1:]).sum(1, keepdim=True)
