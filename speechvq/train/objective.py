"""What is minimised, as one module with one scalar: the interface, and a codec's own losses.

An objective is one module with one scalar: its forward gives the sum of what each of its parts
minimises, arranged so that no part's term has a gradient in another part. So one backward pass, one
DDP wrapper and one visible step serve them all, and every part has its own optimiser.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from speechvq.codec import Batch, Codec, Reconstruction
from speechvq.errors import UnknownName
from speechvq.train.contrast import Contrast
from speechvq.train.schedule import Optimiser


class Outcome(NamedTuple):
    """What one batch said. (A named tuple, because DDP looks for gradients inside those.)

    Attributes:
        loss: the scalar to minimise.
        losses: its named parts, detached ("vq/commitment", "sound/stft" ...).
        stats: other named scalars, detached ("codes/perplexity" ...).
        codes: the quantizer's stats, over all processes while training; None when the objective has no
            codebook.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    stats: dict[str, Tensor]
    codes: dict[str, Tensor] | None


class Objective(nn.Module, ABC):
    """Interface of what the loop minimises."""

    @property
    @abstractmethod
    def product(self) -> nn.Module:
        """The part that is judged, averaged and exported."""

    @abstractmethod
    def forward(self, parts: Mapping[str, Any], step: int) -> Outcome:
        """The outcome of a `Batch`, given as ``vars(batch)``, at the optimiser's step ``step``."""

    @property
    def label(self) -> str:
        """What the product is called, and the folder that it is exported to."""
        return "codec"

    @abstractmethod
    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """What ``product``, of this objective's kind, loses on a held-out batch."""

    def optimisers(self, settings: Optimiser) -> dict[str, torch.optim.Optimizer]:
        """The optimiser of each part, by the part's name."""
        return {"product": settings.build(self.product)}


class CodecObjective(Objective):
    """A codec's own losses; parts named in ``freeze`` stay as they are, codebook included."""

    def __init__(
        self, codec: Codec, *, freeze: tuple[str, ...] = (), contrast: Contrast | None = None
    ) -> None:
        """``freeze`` out of "encoder", "quantizer", "decoder"; ``contrast`` adds "units/contrast".

        Raises:
            UnknownName: there is no such part.
        """
        super().__init__()
        self.codec, self.freeze, self.contrast = codec, tuple(freeze), contrast
        for name in self.freeze:
            if name not in ("encoder", "quantizer", "decoder"):
                raise UnknownName("part of a codec", name, ["encoder", "quantizer", "decoder"])
            getattr(codec, name).requires_grad_(False)

    @property
    def product(self) -> Codec:
        """The codec."""
        return self.codec

    def train(self, mode: bool = True) -> "CodecObjective":
        """Training mode, but for the frozen parts."""
        super().train(mode)
        for name in self.freeze:
            getattr(self.codec, name).eval()
        return self

    def forward(self, parts: Mapping[str, Any], step: int) -> Outcome:
        """See `Objective.forward`."""
        return self.judge(self.product, Batch(**parts))

    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """See `Objective.judge`."""
        return self.heard(product, batch)[0]

    def heard(self, product: nn.Module, batch: Batch) -> tuple[Outcome, Reconstruction]:
        """What ``product`` loses on a batch, and what its decoder made."""
        output = product(batch)
        named = dict(output.losses)
        if self.contrast is not None:
            named["units/contrast"] = self.contrast(cast("Codec", product), batch, output.latents)
        codes = output.quantized.stats
        stats = {f"codes/{k}": v.detach() for k, v in codes.items() if v.ndim == 0}
        loss = torch.stack([value.float() for value in named.values()]).sum()
        return Outcome(loss, detached(named), stats, codes), output.reconstruction


def detached(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same figures in float32, without gradient."""
    return {name: value.detach().float() for name, value in losses.items()}
