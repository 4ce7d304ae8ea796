"""The weights of an autoregressive WaveNet, as the GPU decoders take them, and its rings.

Legend: L layers, R residual channels, G gate channels (of u; the dilated convolution makes 2 G), S skip,
P post, A levels, K taps of a dilated convolution, N utterances.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

import torch
from torch import Tensor


class Net(Protocol):
    """What is read of a `speechvq.nets.wavenet.WaveNet`."""

    dilated: Iterable[torch.nn.Conv1d]
    leave: Iterable[torch.nn.Conv1d]
    post: Iterable[torch.nn.Module]


@dataclass(frozen=True)
class Weights:
    """All that one step multiplies and adds, but for the conditions, which hold the gates' biases."""

    enter: Tensor
    """(A, R), what each level brings into the network."""
    dilated: Tensor
    """(L, K, 2 G, R), the oldest tap first; filters, then gates."""
    residual: Tensor
    """(L, R, G)."""
    residual_bias: Tensor
    """(L, R)."""
    skip: Tensor
    """(L, S, G)."""
    skip_bias: Tensor
    """(S,), summed over the layers."""
    post: Tensor
    """(P, S)."""
    post_bias: Tensor
    """(P,)."""
    out: Tensor
    """(A, P)."""
    out_bias: Tensor
    """(A,)."""
    dilations: tuple[int, ...]
    """One a layer."""

    @classmethod
    @torch.no_grad()
    def of(cls, net: Net, enter: Tensor) -> Self:
        """A snapshot of ``net``, which a level enters as its row of ``enter`` (A, R)."""
        residual = enter.shape[1]
        leave = list(net.leave)
        posts = [layer for layer in net.post if isinstance(layer, torch.nn.Conv1d)]
        matrices = torch.stack([conv.weight[:, :, 0] for conv in leave])
        biases = torch.stack([_bias(conv) for conv in leave])
        return cls(
            enter=enter.detach().float().contiguous(),
            dilated=torch.stack([conv.weight.permute(2, 0, 1) for conv in net.dilated]).contiguous(),
            residual=matrices[:, :residual].contiguous(),
            residual_bias=biases[:, :residual].contiguous(),
            skip=matrices[:, residual:].contiguous(),
            skip_bias=biases[:, residual:].sum(0),
            post=posts[0].weight[:, :, 0].contiguous(),
            post_bias=_bias(posts[0]).clone(),
            out=posts[1].weight[:, :, 0].contiguous(),
            out_bias=_bias(posts[1]).clone(),
            dilations=tuple(conv.dilation[0] for conv in net.dilated),
        )

    @property
    def layers(self) -> int:
        """L."""
        return len(self.dilations)

    @property
    def taps(self) -> int:
        """K."""
        return self.dilated.shape[1]

    @property
    def channels(self) -> tuple[int, int, int, int, int]:
        """(R, G, S, P, A)."""
        return (
            self.residual.shape[1], self.residual.shape[2], self.skip.shape[1], *self.out.shape[::-1],
        )  # fmt: skip

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same on another device; ``dtype`` is that of the matrices, biases stay float32."""
        moved = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "dilations"}
        matrices = {"dilated", "residual", "skip", "post", "out"}
        return replace(self, **{k: v.to(device, dtype if k in matrices else None) for k, v in moved.items()})

    @property
    def numbers(self) -> int:
        """Weights that one sample multiplies."""
        return sum(m.numel() for m in (self.dilated, self.residual, self.skip, self.post, self.out))


@dataclass
class Past:
    """What N utterances have behind them; decoding goes on from it and changes it.

    Attributes:
        rings: (places, N, R) float32; layer after layer, each the inputs of the last
            (K - 1) * dilation samples and of the sample that is being made.
        level: (N,) int32, the last levels.
        time: samples so far; it says where each ring begins.
    """

    rings: Tensor
    level: Tensor
    time: int = 0

    @classmethod
    def start(cls, weights: Weights, batch: int, level: int | None = None) -> Self:
        """Zeros and ``level`` (silence, half of A, by default) before the first sample of ``batch``."""
        device, (width, *_, levels) = weights.enter.device, weights.channels
        places = sum((weights.taps - 1) * d + 1 for d in weights.dilations)
        return cls(
            torch.zeros(places, batch, width, device=device),
            torch.full((batch,), levels // 2 if level is None else level, dtype=torch.int32, device=device),
        )

    def clone(self) -> Self:
        """An independent copy."""
        return replace(self, rings=self.rings.clone(), level=self.level.clone())

    def rows(self, count: int) -> Self:
        """A copy of the first ``count`` utterances."""
        return replace(self, rings=self.rings[:, :count].contiguous(), level=self.level[:count].clone())


def _bias(conv: torch.nn.Conv1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
