"""ViT-VQGAN as published by thuanz123/enhancing-transformers: its first stage in and out, key for key.

Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (2022), in the reading of that code. Every
tensor of encoder, decoder and quantizer has one place in ours; those of the loss (``loss.*``, with the
perceptual network and the discriminator) are left out. Pictures are in [0, 1] there and in [-1, 1] here,
which the networks' reading knows. Tensors do not tell the channels of a head: they are 64 in that code.
"""

import re
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

from speechvq.bridge.checkpoint import (
    Tensors,
    check_names,
    open_checkpoint,
    part_of,
    remedy,
    size_of,
    write_checkpoint,
)
from speechvq.bridge.places import fill, places_of, take
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.image.vit import ViTDecoder, ViTEncoder
from speechvq.image.vit_sizes import READINGS, SIZES, Size
from speechvq.quantize import VectorQuantizer
from speechvq.table import called

KIND = "thuanz123/enhancing-transformers"
HEAD = 64
"""Channels of a head."""
REMEDY = remedy("last.ckpt", needs="pytorch-lightning")
CODEBOOK, GRIDS = "quantizer.embedding.weight", ("encoder.en_pos_embedding", "decoder.de_pos_embedding")
EDGES = ("encoder.to_patch_embedding.0.weight", "decoder.to_pixel.1.weight")
LAYER = r"\1.transformer.layers.\2"
RULES = (
    (r"^quantizer\.codebook\.vectors$", CODEBOOK),
    (r"^(encoder\.project|quantizer\.passage\.project_in)\.", "pre_quant."),
    (r"^(decoder\.project|quantizer\.passage\.project_out)\.", "post_quant."),
    (r"^encoder\.enter\.", "encoder.to_patch_embedding.0."),
    (r"^decoder\.leave\.", "decoder.to_pixel.1."),
    (r"^encoder\.patches\.places$", GRIDS[0]),
    (r"^decoder\.patches\.places$", GRIDS[1]),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.before\.", LAYER + ".0.norm."),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.look\.weight$", LAYER + ".0.fn.to_qkv.weight"),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.bring\.", LAYER + ".0.fn.to_out."),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.between\.", LAYER + ".1.norm."),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.widen\.", LAYER + ".1.fn.net.0."),
    (r"^(\w+)\.patches\.blocks\.(\d+)\.narrow\.", LAYER + ".1.fn.net.2."),
    (r"^(\w+)\.patches\.norm\.", r"\1.transformer.norm."),
)
TRAINING = ("quantizer.pool.", *(f"quantizer.codebook.{name}" for name in ("use", "counts", "sums", "steps")))
"""State of our quantizer's training, which theirs has not."""


def codec_name(own: str) -> str | None:
    """Their name of a codec's tensor; None for what the published model has not."""
    for pattern, theirs in RULES:
        if re.search(pattern, own):
            return re.sub(pattern, theirs, own)
    return None


def import_vit(path: str | Path, *, head: int = HEAD) -> Codec:
    """The codec of a published checkpoint of the first stage, in evaluation mode.

    Args:
        path: ``last.ckpt``.
        head: channels of a head of the attention.

    Raises:
        BadCheckpoint: it is not such a checkpoint, or is damaged.
    """
    tensors = part_of(open_checkpoint(path, kind=KIND, remedy=REMEDY), "state_dict", path=path, kind=KIND)
    if any(name.startswith("stage1_model.") for name in tensors):
        raise BadCheckpoint(f"{path} is of the second stage of {KIND}; give the checkpoint of its first")
    tensors = {_today(name): tensor for name, tensor in tensors.items()}
    try:
        codec = Codec.build(_config(tensors, head, path)).eval()
    except BadSetting as error:
        raise BadCheckpoint(f"{path} has sizes that no ViT-VQGAN has: {error}") from error
    places = places_of(codec, codec_name)
    spare = [name for name in tensors if name.startswith("loss.")]
    check_names(tensors, places, spare=spare, path=path, hint=f"this is no first stage of {KIND}")
    fill(codec, tensors, places, path=path)
    return codec


def export_vit(codec: Codec, path: str | Path, *, step: int = 0, force: bool = False) -> None:
    """Write a checkpoint that the published code loads: the reverse of `import_vit`, bit for bit.

    Args:
        codec: an imported one, or one with the same parts.
        path: the file, ``last.ckpt``.
        step: training steps that the file tells.
        force: replace a file that is there.

    Raises:
        BadSetting: the codec has other parts.
        WouldOverwrite: a file is there and not ``force``.
    """
    _check(codec)
    tensors = take(codec, places_of(codec, codec_name))
    write_checkpoint(path, {"epoch": 0, "global_step": step, "state_dict": tensors}, force=force)


def _today(name: str) -> str:
    """A name of an earlier version of the published code as it is now."""
    name = re.sub(r"^(encoder|decoder)\.norm\.", r"\1.transformer.norm.", name)
    return name.replace("decoder.to_pixel.conv_out.", "decoder.to_pixel.1.")


def _config(tensors: Tensors, head: int, path: str | Path) -> dict[str, Any]:
    """What `Codec.build` takes, from the sizes of the tensors."""
    if missing := [name for name in (CODEBOOK, *EDGES, *GRIDS) if name not in tensors]:
        raise BadCheckpoint(f"{path} has no {missing[0]!r}: this is no first stage of {KIND}")
    patches = [size_of(tensors, name, 3, dims=4, path=path) for name in EDGES]
    places = [size_of(tensors, name, 1, dims=3, path=path) for name in GRIDS]
    colours = size_of(tensors, EDGES[0], 1, dims=4, path=path)
    codes, dim = (size_of(tensors, CODEBOOK, axis, dims=2, path=path) for axis in (0, 1))
    if len(set(patches)) > 1 or len(set(places)) > 1 or isqrt(places[0]) ** 2 != places[0]:
        raise BadCheckpoint(
            f"{path} has patches of {patches} pixels and {places} places of encoder and decoder; both must "
            "have the same, and as many places across as down"
        )
    reading = "enhancing" if head == HEAD else replace(READINGS["enhancing"], head=head)
    both = {"reading": reading, "side": isqrt(places[0]) * patches[0], "colours": colours}
    sizes = {part: called(_size(tensors, part, head, path), SIZES) for part in ("encoder", "decoder")}
    return {
        "room": "image",
        "rate": 1,
        "encoder": both | {"name": "vit", "dim": dim, "size": sizes["encoder"], "patch": patches[0]},
        "quantizer": {
            "name": "vector",
            "codebook_size": codes,
            "space": {"metric": "cosine", "gradient": "vector"},
            "learning": {"by": "gradient", "commitment": 0.25, "codebook": 1.0},
            "start": {"by": "normal"},
            "revival": {"threshold": 0.0},
        },
        "decoder": both | {"name": "vit", "size": sizes["decoder"], "laplace": {"weight": 0.0}},
    }


def _size(tensors: Tensors, part: str, head: int, path: str | Path) -> Size:
    """Of the encoder or decoder."""
    layers = f"{part}.transformer.layers."
    first = {
        "width": (".0.norm.weight", 1),
        "inner": (".0.fn.to_qkv.weight", 2),
        "hidden": (".1.fn.net.0.weight", 2),
    }
    blocks = sum(name.startswith(layers) and name.endswith(first["width"][0]) for name in tensors)
    if missing := [tail for tail, _ in first.values() if f"{layers}0{tail}" not in tensors]:
        raise BadCheckpoint(f"{path} has no '{layers}0{missing[0]}': this is no first stage of {KIND}")
    found = {
        what: size_of(tensors, f"{layers}0{tail}", 0, dims=dims, path=path)
        for what, (tail, dims) in first.items()
    }
    if head < 1 or found["inner"] % (3 * head):
        raise BadCheckpoint(
            f"{path}: {found['inner']} rows of queries, keys and values are no heads of {head} channels"
        )
    return Size(blocks, found["inner"] // (3 * head), found["width"], found["hidden"])


def _check(codec: Codec) -> None:
    """Raise `BadSetting` unless the published model has the same parts."""
    encoder, decoder, core, alike = codec.encoder, codec.decoder, codec.quantizer, False
    if (
        isinstance(encoder, ViTEncoder)
        and isinstance(decoder, ViTDecoder)
        and isinstance(core, VectorQuantizer)
    ):
        readings, sizes = [[getattr(p.shape, n) for p in (encoder, decoder)] for n in ("reading", "size")]
        alike = (
            all(r.tanh and r.range == "unit" for r in readings)
            # Without a layer out of its only head the published code has fewer tensors.
            and not any(
                s.heads == 1 and r.channels(s) == s.width for r, s in zip(readings, sizes, strict=True)
            )
            and encoder.side == decoder.side
            and decoder.laplace.weight == 0
            and core.passage.cosine
            and core.codebook.form == "own"
        )
    named = {own: codec_name(own) for own in codec.state_dict() if not own.startswith(TRAINING)}
    around = {f"{layer}.{leaf}" for layer in ("pre_quant", "post_quant") for leaf in ("weight", "bias")}
    theirs = list(named.values())
    if not alike or None in theirs or len(set(theirs)) < len(theirs) or not around <= set(theirs):
        raise BadSetting(
            f"this codec has other parts than the ViT-VQGAN of {KIND}: that needs an encoder and a decoder "
            "'vit' as in the reading 'enhancing', with laplace.weight 0, and a quantizer 'vector' of cosine "
            "codes with one linear layer before and one after them"
        )
