"""The tensors of the published VQGAN, of its transformer and of its critic, and where each lies in ours.

CompVis/taming-transformers (Esser, Rombach and Ommer 2021). Names differ, and three shapes: positions have
an axis of batches, the Gumbel logits are a 1x1 convolution, and queries, keys and values, which are one
layer here, are three there.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from speechvq.bridge.places import Place, Places, places_of
from speechvq.codec import Codec
from speechvq.nets.patch_critic import PatchCritic
from speechvq.prior.gpt import GPTPrior

FIRST, COND, GPT, CRITIC = "first_stage_model.", "cond_stage_model.", "transformer.", "loss.discriminator."
"""What their names begin with in a file of several models."""

type Rules = tuple[tuple[str, str], ...]
"""Patterns of our names, and what stands in their place."""

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
BLOCK: Rules = (
    (r"\.before\.", ".ln1."),
    (r"\.between\.", ".ln2."),
    (r"\.bring\.", ".attn.proj."),
    (r"\.widen\.", ".mlp.0."),
    (r"\.narrow\.", ".mlp.2."),
)
"""Of a block of a transformer, but for queries, keys and values: see `looks`."""
_PRIOR: Rules = (
    (r"^enter\.", "tok_emb."),
    (r"^leave\.", "head."),
    (r"^net\.places\.weight$", "pos_emb"),
    (r"^net\.last\.", "ln_f."),
    (r"^net\.", ""),
    *BLOCK,
)
_CRITIC: Rules = ((r"^layers\.", "main."), (r"\.started$", ".initialized"))
_LOOKS = ("query", "key", "value")


def codec_name(own: str) -> str | None:
    """Their name of a codec's tensor; None for what the published model has not."""
    part, _, name = own.partition(".")
    if part == "quantizer":
        return _QUANTIZER.get(name)
    return renamed(name, _ENCODER if part == "encoder" else _DECODER)


def codec_places(codec: Codec) -> Places:
    """Their names of all tensors of a VQGAN, to their places in a codec."""
    places, logits = places_of(codec, codec_name), _QUANTIZER["logits.weight"]
    if logits in places:
        places[logits] = replace(places[logits], shape=(*places[logits].shape, 1, 1))
    return places


def prior_places(prior: GPTPrior) -> Places:
    """Their names of all weights of a transformer, without its masks, to their places in a prior."""
    places = {}
    for own, tensor in prior.state_dict().items():
        theirs, shape = renamed(own, _PRIOR), tuple(tensor.shape)
        if thirds := looks(own, theirs, shape):
            places |= thirds
        else:
            places[theirs] = Place(own, (1, *shape) if theirs == "pos_emb" else shape)
    return places


def looks(own: str, theirs: str, shape: tuple[int, ...]) -> Places:
    """Queries, keys and values in our tensor of this ``shape``; empty if it holds no such three."""
    block, look, leaf = theirs.partition(".look.")
    rows = (shape[0] // 3, *shape[1:])
    return {f"{block}.attn.{n}.{leaf}": Place(own, rows, i) for i, n in enumerate(_LOOKS)} if look else {}


def critic_places(critic: PatchCritic) -> Places:
    """Their names of all tensors of a discriminator, to their places in a critic."""
    return places_of(critic, lambda own: renamed(own, _CRITIC))


def mask_names(layers: int) -> list[str]:
    """Their names of the masks of a transformer's layers, which are no weights."""
    return [f"{GPT}blocks.{layer}.attn.mask" for layer in range(layers)]


def spare_names(tensors: Iterable[str]) -> list[str]:
    """Those of ``tensors`` that belong to training or to pictures of its progress, and are left out."""
    spare = re.compile(r"^((first|cond)_stage_model\.)?(loss\.|colorize$)")
    return [name for name in tensors if spare.match(name)]


def renamed(name: str, rules: Rules) -> str:
    """``name`` by all of the rules, one after the other."""
    for ours, theirs in rules:
        name = re.sub(ours, theirs, name)
    return name
