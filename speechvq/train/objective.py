"""What is minimised: a codec's own losses, those and a critic's, or a prior's.

An objective is one module with one scalar: its forward gives the sum of what each of its parts
minimises, arranged so that no part's term has a gradient in another part. So one backward pass, one
DDP wrapper and one visible step serve them all, and every part has its own optimiser.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from speechvq.codec import Batch, Codec, Reconstruction
from speechvq.errors import BadSetting, UnknownName
from speechvq.losses.adversarial import critic_loss, feature_matching, maker_loss
from speechvq.nets.critic import Critic
from speechvq.table import settings
from speechvq.train.contrast import Contrast, contrast_of
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
        return {"product": settings.build(self.product.parameters())}


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
        return Outcome(loss, _detached(named), stats, codes), output.reconstruction


@dataclass(frozen=True)
class Adversary:
    """A critic and what it has to say in the codec's loss."""

    width: int = 16  # channels of the critics' first layers; 32 in the papers
    kind: str = "hinge"  # hinge or squares
    start_step: int = 0  # the critic learns and is heard from this step on
    weight: float = 1.0  # of the codec's adversarial loss
    features: float = 2.0  # of feature matching
    lr: float = 2e-4  # the critic's learning rate
    window: int = 0  # samples of a random cut that the critic hears; 0 for all of the crop

    def __post_init__(self) -> None:
        if self.kind not in ("hinge", "squares"):
            raise UnknownName("adversarial loss", self.kind, ["hinge", "squares"])
        if min(self.start_step, self.weight, self.features, self.window) < 0 or not self.lr > 0:
            raise BadSetting("the critic's start_step, weights and window must be at least 0, its lr above 0")


class CriticObjective(Objective):
    """A codec against critics: both learn from the same pass, each by its own optimiser.

    The codec hears the critics with their weights held still (as constants), the critics hear what the
    codec made without its gradient; so the sum of both terms has the gradients of an alternating game.
    """

    def __init__(self, own: CodecObjective, critic: nn.Module, adversary: Adversary) -> None:
        """The codec's ``own`` losses, and critics that give `Judgement`s of (B, C, L) and a mask."""
        super().__init__()
        self.own, self.critic, self.adversary = own, critic, adversary

    @property
    def product(self) -> Codec:
        """The codec."""
        return self.own.codec

    def forward(self, parts: Mapping[str, Any], step: int) -> Outcome:
        """See `Objective.forward`.

        Raises:
            BadSetting: the decoder makes no signal in training.
        """
        batch = Batch(**parts)
        outcome, reconstruction = self.own.heard(self.product, batch)
        if reconstruction.signal is None:
            raise BadSetting(
                "this decoder makes no signal in training for a critic to hear; give objective.name=codec, "
                "or a decoder that does (spectral with loss.learn=waveform)"
            )
        if step < self.adversary.start_step:
            return outcome
        return self._criticised(outcome, batch, reconstruction.signal)

    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """See `Objective.judge`: without the critics, whose opinion changes from step to step."""
        return self.own.judge(product, batch)

    def optimisers(self, settings: Optimiser) -> dict[str, torch.optim.Optimizer]:
        """One for the codec, one for the critics."""
        critic = settings.build(self.critic.parameters(), lr=self.adversary.lr)
        return super().optimisers(settings) | {"critic": critic}

    def _criticised(self, outcome: Outcome, batch: Batch, made: Tensor) -> Outcome:
        real, made, mask = self._heard(batch, made)
        still = {name: value.detach() for name, value in self.critic.named_parameters()}
        about_made = functional_call(self.critic, still, (made, mask))
        to_real, to_made = self.critic(real, mask), self.critic(made.detach(), mask)
        masks = [j.mask for j in to_real]
        kind = self.adversary.kind
        game = maker_loss([j.scores for j in about_made], masks, kind=kind)
        match = feature_matching([j.features for j in to_real], [j.features for j in about_made], masks)
        tell = critic_loss([j.scores for j in to_real], [j.scores for j in to_made], masks, kind=kind)
        new = {
            "critic/maker": self.adversary.weight * game,
            "critic/features": self.adversary.features * match,
            "critic/critic": tell,
        }
        loss = outcome.loss + torch.stack(list(new.values())).sum()
        return outcome._replace(loss=loss, losses=outcome.losses | _detached(new))

    def _heard(self, batch: Batch, made: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Recording, reconstruction and mask, cut to one length and perhaps to a random window."""
        length = min(made.shape[-1], batch.signal.shape[-1])
        first = 0
        if 0 < self.adversary.window < length:
            first = int(torch.randint(length - self.adversary.window + 1, ()))
            length = self.adversary.window
        cut = slice(first, first + length)
        mask = None if batch.mask is None else batch.mask[..., cut]
        return batch.signal[..., cut], made[..., cut], mask


def build_objective(spec: Mapping[str, Any], codec: Codec) -> Objective:
    """The objective of ``spec``: ``name`` "codec" or "critic", ``freeze``, ``contrast`` and the critic's."""
    values = {k: v for k, v in spec.items() if k not in ("name", "freeze", "contrast")}
    name = str(spec.get("name", "codec"))
    own = CodecObjective(
        codec, freeze=tuple(spec.get("freeze") or ()), contrast=contrast_of(spec.get("contrast"))
    )
    if name == "critic":
        adversary = settings(Adversary, values, "the objective 'critic'")
        return CriticObjective(own, Critic(adversary.width), adversary)
    if name != "codec":
        raise UnknownName("objective", name, ["codec", "critic"])
    if values:
        raise UnknownName("setting of the objective 'codec'", sorted(values)[0], ["contrast", "freeze"])
    return own


def _detached(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().float() for name, value in losses.items()}
