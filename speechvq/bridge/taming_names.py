"""The tensors of the published VQGAN, of its transformer and of its critic, and where each lies in ours.

CompVis/taming-transformers (Esser, Rombach and Ommer 2021). Names differ, and three shapes: positions have
an axis of batches, the Gumbel logits are a 1x1 convolution, and queries, keys and values, which are one
layer here, are three there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from speechvq.bridge.checkpoint import Tensors
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint
from speechvq.nets.patch_critic import PatchCritic
from speechvq.prior.gpt import GPTPrior

FIRST, COND, GPT, CRITIC = "first_stage_model.", "cond_stage_model.", "transformer.", "loss.discriminator."
"""What their names begin with in a file of several models."""

type Rules = tuple[tuple[str, str], ...]

_ENTER: Rules = ((r"^enter\.", "conv_in."),)
_BOTH: Rules = (
    (r"\.blocks\.(\d+)\.", r".block.\1."),
    (r"\.attention\.(\d+)\.", r".attn.\1."),
    (r"^middle\.0\.", "mid.block_1."),
    (r"^middle\.1\.", "mid.attn_1."),
    (r"^middle\.2\.", "mid.block_2."),
    (r"\.shortcut\.", ".nin_shortcut."),
    (r"\.out\.", ".proj_out."),
    (r"^norm\.", "norm_out."),
    (r"^leave\.", "conv_out."),
)
_ENCODER: Rules = (
    *_ENTER,
    (r"^levels\.(\d+)\.", r"down.\1."),
    (r"\.resample\.", ".downsample."),
    *_BOTH,
    (r"^", "encoder."),
    (r"^encoder\.project\.", "quant_conv."),
)
_DECODER: Rules = (
    *_ENTER,
    (r"^levels\.(\d+)\.", r"up.\1."),
    (r"\.resample\.", ".upsample."),
    *_BOTH,
    (r"^", "decoder."),
    (r"^decoder\.project\.", "post_quant_conv."),
)
_QUANTIZER = {
    "codebook.vectors": "quantize.embedding.weight",
    "vectors": "quantize.embed.weight",
    "logits.weight": "quantize.proj.weight",
    "logits.bias": "quantize.proj.bias",
}
_PRIOR: Rules = (
    (r"^enter\.", "tok_emb."),
    (r"^leave\.", "head."),
    (r"^net\.places\.weight$", "pos_emb"),
    (r"^net\.last\.", "ln_f."),
    (r"^net\.", ""),
    (r"\.before\.", ".ln1."),
    (r"\.between\.", ".ln2."),
    (r"\.bring\.", ".attn.proj."),
    (r"\.widen\.", ".mlp.0."),
    (r"\.narrow\.", ".mlp.2."),
)
_CRITIC: Rules = ((r"^layers\.", "main."), (r"\.started$", ".initialized"))
_LOOKS = ("query", "key", "value")


@dataclass(frozen=True)
class Place:
    """Where one of their tensors lies.

    Attributes:
        own: name of our tensor.
        shape: of theirs.
        third: None for the whole of ours, or the third of its rows, 0 to 2.
    """

    own: str
    shape: tuple[int, ...]
    third: int | None = None


type Places = dict[str, Place]


def codec_name(own: str) -> str | None:
    """Their name of a codec's tensor; None for what the published model has not."""
    part, _, name = own.partition(".")
    if part == "quantizer":
        return _QUANTIZER.get(name)
    return _renamed(name, _ENCODER if part == "encoder" else _DECODER)


def codec_places(codec: Codec) -> Places:
    """Their names of all tensors of a VQGAN, to their places in a codec."""
    places = {}
    for own, tensor in codec.state_dict().items():
        theirs = codec_name(own)
        if theirs is not None:
            ones = (1, 1) if own == "quantizer.logits.weight" else ()
            places[theirs] = Place(own, (*tensor.shape, *ones))
    return places


def prior_places(prior: GPTPrior) -> Places:
    """Their names of all weights of a transformer, without its masks, to their places in a prior."""
    places = {}
    for own, tensor in prior.state_dict().items():
        theirs, shape = _renamed(own, _PRIOR), tuple(tensor.shape)
        block, look, leaf = theirs.partition(".look.")
        if look:
            rows = (shape[0] // 3, *shape[1:])
            places |= {f"{block}.attn.{n}.{leaf}": Place(own, rows, i) for i, n in enumerate(_LOOKS)}
        else:
            places[theirs] = Place(own, (1, *shape) if theirs == "pos_emb" else shape)
    return places


def critic_places(critic: PatchCritic) -> Places:
    """Their names of all tensors of a discriminator, to their places in a critic."""
    state = critic.state_dict()
    return {_renamed(own, _CRITIC): Place(own, tuple(tensor.shape)) for own, tensor in state.items()}


def under(prefix: str, places: Mapping[str, Place]) -> Places:
    """The same places of names that begin with ``prefix``."""
    return {prefix + name: place for name, place in places.items()}


def mask_names(layers: int) -> list[str]:
    """Their names of the masks of a transformer's layers, which are no weights."""
    return [f"{GPT}blocks.{layer}.attn.mask" for layer in range(layers)]


def spare_names(tensors: Iterable[str]) -> list[str]:
    """Those of ``tensors`` that belong to training or to pictures of its progress, and are left out."""
    spare = re.compile(r"^((first|cond)_stage_model\.)?(loss\.|colorize$)")
    return [name for name in tensors if spare.match(name)]


@torch.no_grad()
def fill(module: nn.Module, tensors: Tensors, places: Mapping[str, Place], *, path: str | Path) -> None:
    """Copy their tensors to their places in ``module``.

    Raises:
        BadCheckpoint: a shape is another.
    """
    state = module.state_dict()
    for name, place in places.items():
        tensor, own = tensors[name], state[place.own]
        if tuple(tensor.shape) != place.shape:
            found = tuple(tensor.shape)
            raise BadCheckpoint(f"{path}: {name!r} has the shape {found} where {place.shape} is needed")
        part = own if place.third is None else own.chunk(3)[place.third]
        part.copy_(tensor.reshape(part.shape))


def take(module: nn.Module, places: Mapping[str, Place]) -> Tensors:
    """The reverse of `fill`: copies of our tensors, on the CPU, as theirs."""
    state, made = module.state_dict(), {}
    for name, place in places.items():
        own = state[place.own]
        part = own if place.third is None else own.chunk(3)[place.third]
        made[name] = part.detach().cpu().reshape(place.shape).clone()
    return made


def _renamed(name: str, rules: Rules) -> str:
    for ours, theirs in rules:
        name = re.sub(ours, theirs, name)
    return name
