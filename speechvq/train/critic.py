"""A codec against critics: an adversarial loss beside its own, and the objective that a spec names.

Sound is heard by critics of many periods and resolutions (`speechvq.nets.critic`), with feature matching; a
picture is seen patch by patch (`speechvq.nets.patch_critic`), with the adaptive weight of "Taming
Transformers for High-Resolution Image Synthesis" (Esser et al. 2021, equation 7) where asked for, or as a
whole (`speechvq.nets.style_critic`), with R1 every few steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from speechvq.codec import Batch, Codec, Reconstruction
from speechvq.errors import BadSetting, UnknownName
from speechvq.losses.adaptive import adaptive_weight
from speechvq.losses.adversarial import KINDS, critic_loss, feature_matching, maker_loss
from speechvq.losses.gradient_penalty import steepness
from speechvq.nets.critic import Critic
from speechvq.nets.patch_critic import NORMS, PatchCritic
from speechvq.nets.style_critic import StyleCritic
from speechvq.table import settings
from speechvq.train.contrast import contrast_of
from speechvq.train.objective import CodecObjective, Objective, Outcome, detached
from speechvq.train.schedule import Optimiser

CRITICS = {"sound": "speech", "patch": "image", "style": "image"}
"""Each critic and the room whose codecs it criticises."""


@dataclass(frozen=True)
class Style:
    """What is told to a style critic alone."""

    side: int | None = None  # pixels a side of the pictures it sees; None: of the largest that the codec sees
    group: int = 4  # pictures whose differences it looks at together
    gamma: float = 10.0  # weight of R1, halved; 0 for none
    every: int = 16  # R1 is taken every so many steps, and then so many times as heavy

    def __post_init__(self) -> None:
        if not self.gamma >= 0 or self.every < 1:
            raise BadSetting("objective.style: gamma must be at least 0, every at least 1")


@dataclass(frozen=True)
class Adversary:
    """A critic and what it has to say in the codec's loss."""

    critic: str = "sound"  # sound; patch or style for pictures
    width: int = 16  # channels of the critics' first layers; in papers 32 of sound, 64 (patch), 128 (style)
    layers: int = 3  # of a patch critic: it sees 16, 34, 70 pixels with 1, 2, 3
    channels: int = 3  # of the pictures that a critic sees; "auto" in a spec: as the codec
    norm: str = "batch"  # of a patch critic: batch or act
    kind: str = "hinge"  # hinge, squares, vanilla or logistic
    start_step: int = 0  # the critic learns and is heard from this step on
    weight: float = 1.0  # of the codec's adversarial loss
    adaptive: bool = False  # scale that loss to the reconstruction's gradient at the decoder's last layer
    features: float = 2.0  # of feature matching
    lr: float = 2e-4  # the critic's learning rate
    window: int = 0  # samples of a random cut of sound that the critic hears; 0 for all of the crop
    style: Style = Style()  # of a style critic

    def __post_init__(self) -> None:
        if self.critic not in CRITICS:
            raise UnknownName("critic", self.critic, list(CRITICS))
        if self.norm not in NORMS:
            raise UnknownName("norm of a critic", self.norm, list(NORMS))
        if self.kind not in KINDS:
            raise UnknownName("adversarial loss", self.kind, list(KINDS))
        if min(self.start_step, self.weight, self.features, self.window) < 0 or not self.lr > 0:
            raise BadSetting("the critic's start_step, weights and window must be at least 0, its lr above 0")
        if self.critic != "sound" and self.window:
            raise BadSetting("objective.window cuts sound; leave it out for pictures")


class CriticObjective(Objective):
    """A codec against critics: both learn from the same pass, each by its own optimiser.

    The codec hears the critics with their weights held still (as constants), the critics hear what the
    codec made without its gradient; so the sum of both terms has the gradients of an alternating game.
    """

    def __init__(self, own: CodecObjective, critic: nn.Module, adversary: Adversary) -> None:
        """The codec's ``own`` losses, and critics that give `Judgement`s of (B, C, *size) and a mask."""
        super().__init__()
        self.own, self.critic, self.adversary = own, critic, adversary
        if adversary.adaptive and not isinstance(self._last_layer, Tensor):
            raise BadSetting(
                "this decoder has no last layer to weigh a critic by; give objective.adaptive=false"
            )

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
        return self._criticised(outcome, batch, reconstruction, step)

    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """See `Objective.judge`: without the critics, whose opinion changes from step to step."""
        return self.own.judge(product, batch)

    def optimisers(self, settings: Optimiser) -> dict[str, torch.optim.Optimizer]:
        """One for the codec, one for the critics."""
        critic = settings.build(self.critic, lr=self.adversary.lr)
        return super().optimisers(settings) | {"critic": critic}

    @property
    def _last_layer(self) -> Tensor | None:
        """The weight of the decoder's last layer, of a decoder that says which it is."""
        return getattr(self.product.decoder, "last_layer", None)

    def _criticised(self, outcome: Outcome, batch: Batch, own: Reconstruction, step: int) -> Outcome:
        assert own.signal is not None
        real, made, mask = self._heard(batch, own.signal)
        penalty = self._penalty(step)
        if penalty:
            real = real.detach().requires_grad_()
        still = {name: value.detach() for name, value in self.critic.named_parameters()}
        about_made = functional_call(self.critic, still, (made, mask))
        to_real, to_made = self.critic(real, mask), self.critic(made.detach(), mask)
        masks = [j.mask for j in to_real]
        kind, weight, stats = self.adversary.kind, self.adversary.weight, {}
        game = maker_loss([j.scores for j in about_made], masks, kind=kind)
        last = self._last_layer
        if self.adversary.adaptive and last is not None:
            balance = adaptive_weight(torch.stack(list(own.losses.values())).sum(), game, last)
            weight, stats = weight * balance, {"critic/balance": balance}
        tell = critic_loss([j.scores for j in to_real], [j.scores for j in to_made], masks, kind=kind)
        new = {"critic/maker": weight * game, "critic/critic": tell}
        if penalty:
            steep = steepness([j.scores for j in to_real], real)
            new["critic/r1"], stats["critic/slope"] = penalty * steep, steep
        if self.adversary.features:
            match = feature_matching([j.features for j in to_real], [j.features for j in about_made], masks)
            new["critic/features"] = self.adversary.features * match
        loss = outcome.loss + torch.stack(list(new.values())).sum()
        return outcome._replace(
            loss=loss, losses=outcome.losses | detached(new), stats=outcome.stats | detached(stats)
        )

    def _penalty(self, step: int) -> float:
        """The weight of R1 at a step, mostly 0."""
        style = self.adversary.style
        due = self.adversary.critic == "style" and step % style.every == 0 and torch.is_grad_enabled()
        return style.gamma / 2 * style.every if due else 0.0

    def _heard(self, batch: Batch, made: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Original, reconstruction and mask, cut to one length and perhaps to a random window."""
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
        if values.get("channels") == "auto":
            values["channels"] = getattr(codec.encoder, "colours", Adversary.channels)
        adversary = settings(Adversary, values, "the objective 'critic'")
        return CriticObjective(own, _critic(adversary, codec), adversary)
    if name != "codec":
        raise UnknownName("objective", name, ["codec", "critic"])
    if values:
        raise UnknownName("setting of the objective 'codec'", sorted(values)[0], ["contrast", "freeze"])
    return own


def _critic(adversary: Adversary, codec: Codec) -> nn.Module:
    # Said before the first step, for the critic sees nothing before its own.
    if codec.room != CRITICS[adversary.critic]:
        fit = [f"objective.critic={name}" for name, room in CRITICS.items() if room == codec.room]
        raise BadSetting(
            f"the critic {adversary.critic!r} is for codecs of {CRITICS[adversary.critic]}, and this one is "
            f"of {codec.room}; give {' or '.join([*fit, 'objective.name=codec'])}"
        )
    if getattr(getattr(codec.decoder, "loss", None), "kind", None) == "segmentation":
        raise BadSetting(
            "maps of classes are learned by cross-entropy, and a critic would judge logits; give "
            "experiment=image_segmentation, which has none"
        )
    if adversary.critic == "sound":
        return Critic(adversary.width)
    if (colours := getattr(codec.encoder, "colours", adversary.channels)) != adversary.channels:
        raise BadSetting(
            f"the critic is of pictures with {adversary.channels} channels, and the codec's have {colours}; "
            f"give objective.channels={colours}"
        )
    if adversary.critic == "style":
        side = adversary.style.side or getattr(codec.encoder, "side", None)
        if side is None:
            raise BadSetting(
                "a style critic sees whole pictures of one size, which this codec does not tell; give "
                "objective.style.side=PIXELS"
            )
        group = adversary.style.group
        return StyleCritic(side, channels=adversary.channels, width=adversary.width, group=group)
    return PatchCritic(
        adversary.layers, channels=adversary.channels, width=adversary.width, norm=adversary.norm
    )
