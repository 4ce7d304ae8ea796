"""Drawing a category from logits: temperature, top-k, nucleus (Holtzman et al. 2020), seeded.

The randomness comes in from outside, as uniform numbers, so that a draw can be repeated on any device
and a batch draws what its rows would draw alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from speechvq.errors import BadSetting

LAST = 1 - 2**-40
"""A share of all chances strictly below all of them, so that a category of no chance is never reached."""


@dataclass(frozen=True)
class Sampling:
    """How to draw.

    Attributes:
        temperature: divides the logits; 0 takes the most likely category.
        top_k: draw among the k most likely only; 0 for all.
        top_p: draw among the most likely categories that together hold this probability, in (0, 1].
        seed: of the uniform numbers, at least 0.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if not 0 <= self.temperature < float("inf"):
            raise BadSetting(f"the sampling temperature is {self.temperature}; give 0 or a positive number")
        if self.top_k < 0:
            raise BadSetting(f"top_k is {self.top_k}; give 0 (all) or a positive number")
        if not 0 < self.top_p <= 1:
            raise BadSetting(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.seed < 0:
            raise BadSetting(f"the sampling seed is {self.seed}; give 0 or a positive integer")


@runtime_checkable
class Draws(Protocol):
    """A decoder that draws what it makes: `generate` has the options of `sampling_of`."""

    draws: Literal[True]


def sampling_of(options: Mapping[str, Any]) -> Sampling:
    """The option "sampling", temperature 1 by default, with the option "seed" in place of its own."""
    sampling = options.get("sampling") or Sampling()
    return sampling if options.get("seed") is None else replace(sampling, seed=options["seed"])


class Uniforms:
    """One stream of uniform numbers in [0, 1) per row of a batch.

    The stream of a row depends on the seed and the row only, not on how many rows there are or on the
    device, and drawing twice n numbers is drawing 2 n.
    """

    def __init__(self, seed: int, rows: int) -> None:
        """Streams for ``rows`` rows."""
        seeds = ((seed * 1_000_003 + row) % 2**63 for row in range(rows))
        self.streams = [torch.Generator().manual_seed(s) for s in seeds]

    def draw(self, count: int, rows: int | None = None) -> Tensor:
        """The next ``count`` numbers of the first ``rows`` rows (default all), (rows, count) on the CPU."""
        drawn = [torch.rand(count, generator=g, dtype=torch.float64) for g in self.streams[:rows]]
        return torch.stack(drawn) if drawn else torch.zeros(0, count, dtype=torch.float64)


def sample(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor:
    """Draw one category per row by inverting the cumulative distribution.

    Args:
        logits: (..., Q).
        sampling: temperature, top-k, top-p.
        uniforms: (...) in [0, 1).

    Returns:
        (...) int64 in [0, Q). Equal uniforms give equal draws.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    few = sampling.top_p < 1 or 0 < sampling.top_k < logits.shape[-1]
    if few and logits.dim() == 2 and logits.device.type == "cpu":
        drawn = _sample_among_few(logits, sampling, uniforms)
        if drawn is not None:
            return drawn
    if sampling.temperature != 1:
        logits = logits.double() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    chances = logits.softmax(-1, dtype=torch.float64)
    if sampling.top_p < 1:
        chances = chances * _nucleus(chances, sampling.top_p)
    cumulative = chances.cumsum(-1)
    reached = uniforms.to(cumulative).clamp(0, LAST).unsqueeze(-1) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, reached, right=True).squeeze(-1)


def _nucleus(chances: Tensor, top_p: float) -> Tensor:
    """True for the smallest set of likeliest categories that holds at least ``top_p``."""
    # Stable, so that of equally likely ones the same are kept on every device.
    ordered, places = chances.sort(dim=-1, descending=True, stable=True)
    # A category belongs when the likelier ones before it do not yet hold top_p; the first always does.
    belongs = ordered.cumsum(-1) - ordered < top_p
    return torch.zeros_like(belongs).scatter(-1, places, belongs)


def _sample_among_few(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> Tensor | None:
    """The same for (R, Q) and (R,) by NumPy, which sorts on all of the processor's lanes, and in few calls.

    Chances are in single precision, their sums in double; so another is drawn where a uniform number, or what
    a nucleus is to hold, falls within rounding of an edge. None where others are as likely as the last of a
    nucleus, and chances do not tell which that is.
    """
    logits_RQ = logits.float().numpy(force=True)
    chances_RQ = logits_RQ - logits_RQ.max(1, keepdims=True)
    if sampling.temperature != 1:
        chances_RQ /= np.float32(sampling.temperature)
    np.exp(chances_RQ, out=chances_RQ)
    likeliest = chances_RQ.copy()
    if 0 < sampling.top_k < likeliest.shape[1]:
        likeliest.partition(-sampling.top_k)
        likeliest = likeliest[:, -sampling.top_k :]
        chances_RQ *= chances_RQ >= likeliest[:, :1]
    if sampling.top_p < 1:
        if np.count_nonzero(chances_RQ) > likeliest.size:  # others are as likely as the k-th
            likeliest = chances_RQ.copy()
        likeliest.sort()
        # A category belongs when those below it, and it, are more than what may be left out.
        first_R = _reached(likeliest, 1 - sampling.top_p)
        chances_RQ *= chances_RQ >= likeliest[np.arange(len(first_R)), first_R, None]
        if np.count_nonzero(chances_RQ) > likeliest.size - first_R.sum():
            return None
    return torch.from_numpy(_reached(chances_RQ, uniforms.numpy(force=True)[:, None]))


def _reached(chances_RQ: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Where the sum of a row's chances first is above this share of all, (R,) int64."""
    upto_RQ = torch.from_numpy(chances_RQ).cumsum(1, dtype=torch.float64).numpy()
    return (upto_RQ > np.minimum(share, LAST) * upto_RQ[:, -1:]).argmax(1)
