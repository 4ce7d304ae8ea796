"""VQGAN and its transformer as published by CompVis/taming-transformers: checkpoints in and out, key for key.

Esser, Rombach and Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021). A file holds one
VQGAN, or a transformer ("Net2Net") with the VQGANs of its pictures and of what it is told. Every tensor in
it has one place in ours, or is one of those that are left out: the weights of the loss (of which
`import_critic` takes the discriminator's), random colours for showing segmentations, and masks, which are
checked and made anew.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from speechvq.bridge import taming_vqgan
from speechvq.bridge.checkpoint import Tensors, check_names, open_checkpoint, part_of, remedy, size_of
from speechvq.bridge.places import fill, under
from speechvq.bridge.taming_buffers import BACKWARD, FORWARD
from speechvq.bridge.taming_config import TRANSFORMER, VQGANS, Target, read_config
from speechvq.bridge.taming_names import (
    COND,
    CRITIC,
    FIRST,
    GPT,
    codec_places,
    critic_places,
    mask_names,
    prior_places,
    spare_names,
)
from speechvq.bridge.taming_prior import Source, empty_prior, stage_of
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.nets.patch_critic import PatchCritic
from speechvq.prior import Prior
from speechvq.prior.gpt import GPTPrior
from speechvq.store.weights import CONFIG

KIND = "CompVis/taming-transformers"
PARTS = ("prior", "codec", "condition")
REMEDY = remedy("last.ckpt", needs="pytorch-lightning")


@dataclass(frozen=True)
class Net2Net:
    """A transformer and the codecs it needs.

    Attributes:
        prior: of the codes of pictures.
        codec: of the pictures.
        condition: that of what the prior is told, if it has one of its own; a prior that is told a map
            without it is told codes of ``codec``.
    """

    prior: GPTPrior
    codec: Codec
    condition: Codec | None = None

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The prior and its codecs by the names of their folders."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: part for name, part in found.items() if part is not None}

    def save_pretrained(self, folder: str | Path, *, card: str | None = None) -> None:
        """Write the folders "prior", "codec" and, if there is one, "condition" into ``folder``."""
        for name in reversed(self.parts):
            getattr(self, name).save_pretrained(Path(folder) / name, card=card)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Net2Net":
        """What `save_pretrained` wrote, or the same laid out by hand.

        Raises:
            BadCheckpoint: it is not that.
            BadCodes: the prior is of the codes, or is told codes, of other codecs than those beside it.
        """
        folder = Path(folder)
        prior = Prior.from_pretrained(folder / "prior")
        if not isinstance(prior, GPTPrior):
            raise BadCheckpoint(f"{folder / 'prior'} is no prior of the kind 'gpt'")
        codec = Codec.from_pretrained(folder / "codec")
        own = folder / "condition"
        condition = Codec.from_pretrained(own) if (own / CONFIG).exists() else None
        prior.check(codec.fingerprint, source=folder / "prior")
        for given in prior.given:
            if given.kind == "map":
                given.check((condition or codec).fingerprint)
        return cls(prior, codec, condition)


def import_taming(
    path: str | Path, *, config: str | Path | None = None, heads: int | None = None
) -> Codec | Net2Net:
    """The model of a published checkpoint, in evaluation mode.

    Args:
        path: ``last.ckpt``, a VQGAN or a transformer.
        config: its yaml. Without it, sizes are those of the tensors.
        heads: of the transformer's attention, without a yaml.

    Raises:
        BadCheckpoint: it is not such a checkpoint, it is damaged, or the yaml is that of another.
        BadSetting: the heads are not said, or are said of a VQGAN.
    """
    model = None if config is None else read_config(config)
    tensors = _tensors(path)
    net2net = any(name.startswith(GPT) for name in tensors)
    if model is not None and (model.name == TRANSFORMER) != net2net:
        kind = "a transformer" if net2net else "a VQGAN"
        raise BadCheckpoint(f"{config} is not of {kind}, as {path} is; give the yaml that came with it")
    if net2net:
        return _net2net(Source(tensors, path, model, heads))
    if heads is not None:
        raise BadSetting(f"{path} is a VQGAN, which has no heads to choose; leave them out")
    return _vqgan(tensors, "", model, path)


def import_critic(path: str | Path) -> PatchCritic:
    """The discriminator that a VQGAN was trained against, in evaluation mode.

    Raises:
        BadCheckpoint: it is not such a checkpoint, or came without its loss.
    """
    return critic_of(_under(_tensors(path), CRITIC), CRITIC, path=path)


def critic_of(tensors: Tensors, prefix: str = "", *, path: str | Path) -> PatchCritic:
    """The discriminator of these tensors, whose names begin with ``prefix``, in evaluation mode.

    Raises:
        BadCheckpoint: they are none of a critic of patches.
    """
    first = prefix + "main.0.weight"
    if first not in tensors:
        raise BadCheckpoint(f"{path} has no {first!r}: it came without the discriminator")
    width, channels = (size_of(tensors, first, axis, dims=4, path=path) for axis in (0, 1))
    convolutions = sum(name.endswith(".weight") and tensors[name].dim() == 4 for name in tensors)
    norm = "act" if prefix + "main.3.loc" in tensors else "batch"
    critic = PatchCritic(max(1, convolutions - 2), channels=channels, width=width, norm=norm)
    places = under(prefix, critic_places(critic))
    check_names(tensors, places, path=path, hint="its discriminator is none of patches")
    fill(critic, tensors, places, path=path)
    return critic.eval()


def _tensors(path: str | Path) -> Tensors:
    checkpoint = open_checkpoint(path, kind=KIND, remedy=REMEDY)
    return part_of(checkpoint, "state_dict", path=path, kind=KIND)


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _vqgan(tensors: Tensors, prefix: str, model: Target | None, path: str | Path) -> Codec:
    """The codec of all tensors whose names begin with ``prefix``."""
    tensors = _under(tensors, prefix)
    codec = taming_vqgan.build(taming_vqgan.codec_config(tensors, model, prefix=prefix, path=path), path=path)
    places = under(prefix, codec_places(codec))
    check_names(tensors, places, spare=spare_names(tensors), path=path, hint=f"this is no VQGAN of {KIND}")
    fill(codec, tensors, places, path=path)
    return codec


def _net2net(source: Source) -> Net2Net:
    """All that is in the file of a transformer."""
    tensors, model, path = source.tensors, source.model, source.path
    first = None if model is None else model.part("first_stage_config", VQGANS)
    codec = _vqgan(tensors, FIRST, first, path)
    condition = _condition(source, codec)
    prior = empty_prior(source, codec, condition)
    own, places = _under(tensors, GPT), under(GPT, prior_places(prior))
    hint = f"this is no transformer of {KIND}"
    check_names(own, places, spare=mask_names(prior.net.depth.layers), path=path, hint=hint)
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith((FIRST, COND, GPT))}
    check_names(rest, (), spare=(FORWARD, BACKWARD), path=path, hint=hint)
    fill(prior, own, places, path=path)
    return Net2Net(prior.eval(), codec, None if condition is codec else condition)


def _condition(source: Source, codec: Codec) -> Codec | None:
    """The codec of what the transformer is told: one of its own, that of the pictures, or none."""
    own, path = _under(source.tensors, COND), source.path
    stage = None if source.model is None else stage_of(source.model)
    first = _under(source.tensors, FIRST)
    copies = {FIRST + name.removeprefix(COND): tensor for name, tensor in own.items()}
    same = copies.keys() == first.keys() and all(torch.equal(first[name], copies[name]) for name in first)
    if stage is None and not own:
        return None
    if stage is None:
        return codec if same else _vqgan(own, COND, None, path)
    if stage.name in VQGANS:
        return _vqgan(own, COND, stage, path)
    shared = stage.name == "__is_first_stage__"
    if own and not (shared and same):
        what = "is another codec than that of the pictures" if shared else "should not be there"
        raise BadCheckpoint(f"{path}: {next(iter(own))!r} {what}: {stage.path} says {stage.name}")
    return codec if shared else None
