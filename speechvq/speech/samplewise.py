"""What the decoders share that speak sample by sample: windows to learn from, and how they are asked."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from speechvq.errors import BadSetting


def fit(samples: Tensor, length: int) -> Tensor:
    """(B, L) cut or padded with zeros (False) to (B, length)."""
    return F.pad(samples[:, :length], (0, max(0, length - samples.shape[1])))


def windows(window: int, hop: int, local: Tensor, *samples: Tensor) -> tuple[Tensor, ...]:
    """A window of whole columns at a random place of each row, within its valid samples.

    Args:
        window: samples to take, at least one column.
        hop: samples that a column of ``local`` serves.
        local: (B, C, T), what varies along the sequence.
        samples: each (B, T * hop); the last is the mask, True where valid.

    Returns:
        The windows of ``local`` and of each of ``samples``, aligned.
    """
    width = max(1, window // hop)
    last = samples[-1].sum(1) // hop - width
    draw = torch.rand(len(local), device=local.device)
    start = (draw * (last.clamp(min=0) + 1)).long().clamp(max=local.shape[2] - width)
    places = start[:, None] + torch.arange(width, device=local.device)
    cut = [local.gather(2, places[:, None].expand(-1, local.shape[1], -1))]
    for sample in samples:
        by_column = sample.unflatten(1, (-1, hop))
        cut.append(by_column.gather(1, places[:, :, None].expand(-1, -1, hop)).flatten(1))
    return tuple(cut)


def check_options(decoder: str, options: Mapping[str, Any], *known: str) -> None:
    """Raise `BadSetting` if ``decoder`` was given an option that is not among ``known``."""
    if unknown := set(options) - set(known):
        raise BadSetting(
            f"the {decoder} decoder has no option {', '.join(sorted(unknown))}; it knows {', '.join(known)}"
        )
