"""The published VQGAN as a configuration of our codec: sizes from its tensors, the rest from its yaml.

What the tensors do not say without a yaml has no part in what the networks compute: pixels a side that it
was built for (256), dropout (0), and how the Gumbel temperature fell.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechvq.bridge.checkpoint import Tensors, size_of
from speechvq.bridge.taming_config import VQGANS, Target
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.image.variants import Variant
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder
from speechvq.image.widths import SIZES, Widths
from speechvq.table import called

BUILT_FOR, COLOURS = 256, 4
"""Pixels a side unless a yaml says others, and channels above which a picture is one of classes."""
WIDTHS = {
    "channels": "ch",
    "multipliers": "ch_mult",
    "blocks": "num_res_blocks",
    "attention": "attn_resolutions",
    "colours": "in_channels",
    "latent": "z_channels",
}
"""Our names of the widths to those of the yaml."""
CODEBOOKS = {"quantize.embedding.weight": "vector", "quantize.embed.weight": "gumbel"}


def codec_config(
    tensors: Tensors, model: Target | None, *, prefix: str = "", path: str | Path
) -> dict[str, Any]:
    """What `Codec.build` takes, of the VQGAN whose names begin with ``prefix``.

    Raises:
        BadCheckpoint: these are not the tensors of one, or of another than the yaml's.
    """
    if model is not None and model.params.get("remap") is not None:
        raise BadCheckpoint(f"{model.path}: its codes are numbered anew (remap), which is not supported here")
    told = {} if model is None else model.widths()
    widths = found_widths(tensors, told, prefix=prefix, path=path)
    name = next((name for name in CODEBOOKS if prefix + name in tensors), None)
    if name is None:
        raise BadCheckpoint(f"{path} has no codebook {prefix}{next(iter(CODEBOOKS))}: it is no VQGAN")
    quantizer = CODEBOOKS[name]
    codes, dim = (_size(tensors, prefix + name, axis, 2, path) for axis in (0, 1))
    if model is not None:
        compare(model, widths, told, {"n_embed": codes, "embed_dim": dim}, path)
        if VQGANS[model.name] != quantizer:
            raise BadCheckpoint(f"{model.path} describes a {model.name}, but {path} has a {quantizer} one")
    segments = prefix + "colorize" in tensors or widths.colours > COLOURS or _segments(model)
    kind = "segmentation" if segments else "picture"
    config = Variant("f16", codes, quantizer, kind).config()
    config["encoder"] |= {"size": called(widths, SIZES), "dim": dim}
    config["decoder"]["size"] = config["encoder"]["size"]
    if model is not None and quantizer == "gumbel":
        config["quantizer"] |= _annealing(model, config["quantizer"])
    return config


def build(config: Mapping[str, Any], *, path: str | Path) -> Codec:
    """The codec, in evaluation mode; its weights are yet to come.

    Raises:
        BadCheckpoint: there can be none of these sizes.
    """
    try:
        return Codec.build(config).eval()
    except BadSetting as error:
        raise BadCheckpoint(f"{path} has sizes that no VQGAN has: {error}") from error


def official(codec: Codec) -> dict[str, Any]:
    """The "target" and "params" by which the published code makes the same model, for a yaml."""
    encoder, decoder, spec = codec.encoder, codec.decoder, codec.config["quantizer"]
    assert isinstance(encoder, VQGANEncoder)
    assert isinstance(decoder, VQGANDecoder)
    widths, segments = encoder.widths, decoder.loss.kind == "segmentation"
    params: dict[str, Any] = {
        "embed_dim": encoder.dim,
        "n_embed": codec.quantizer.codebook_size,
        "ddconfig": official_widths(widths),
        "lossconfig": {"target": "taming.modules.losses.DummyLoss"},
    }
    name = "VQModel"
    if spec["name"] == "gumbel":
        name, anneal = "GumbelVQ", spec["anneal"]
        falls = {"warm_up_steps": 0, "max_decay_steps": anneal["steps"]}
        falls |= {"lr_start": anneal["start"], "lr_max": anneal["start"], "lr_min": anneal["end"]}
        schedule = {"target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler", "params": falls}
        params |= {"kl_weight": spec["prior"], "temperature_scheduler_config": schedule}
    if segments:
        params |= {"image_key": "segmentation", "colorize_nlabels": widths.colours}
    return {"target": f"taming.models.vqgan.{name}", "params": params}


def official_widths(widths: Widths) -> dict[str, Any]:
    """The arguments "ddconfig" of the networks, for a yaml."""
    ddconfig = {theirs: getattr(widths, ours) for ours, theirs in WIDTHS.items()}
    ddconfig |= {"ch_mult": list(widths.multipliers), "attn_resolutions": list(widths.attention)}
    ddconfig |= {"double_z": False, "out_ch": widths.colours, "resolution": widths.resolution}
    return ddconfig | {"dropout": widths.dropout}


def found_widths(tensors: Tensors, told: Mapping[str, Any], *, prefix: str = "", path: str | Path) -> Widths:
    """Of the tensors, but for the resolution and the dropout, which are what was ``told``, or usual.

    Raises:
        BadCheckpoint: these are not the networks of a VQGAN.
    """

    def size(name: str, axis: int) -> int:
        return _size(tensors, prefix + name, axis, 4, path)

    levels = _count(tensors, prefix, r"encoder\.down\.(\d+)\.block\.")
    channels = size("encoder.conv_in.weight", 0)
    wide = [size(f"encoder.down.{level}.block.0.conv1.weight", 0) for level in range(levels)]
    if any(one % channels for one in wide):
        raise BadCheckpoint(f"{path}: its levels have {wide} channels, which are no multiples of {channels}")
    resolution = told.get("resolution", max(BUILT_FOR, 2 ** min(levels, 30)))
    attends = [level for level in range(levels) if f"{prefix}encoder.down.{level}.attn.0.q.weight" in tensors]
    try:
        return Widths(
            channels,
            tuple(one // channels for one in wide),
            _count(tensors, prefix, r"encoder\.down\.0\.block\.(\d+)\."),
            tuple(resolution // 2**level for level in attends),
            resolution,
            colours=size("encoder.conv_in.weight", 1),
            latent=size("encoder.conv_out.weight", 0),
            dropout=told.get("dropout", 0.0),
        )
    except BadSetting as error:
        raise BadCheckpoint(f"{path} has sizes that no VQGAN has: {error}") from error


def compare(
    model: Target, widths: Widths, told: Mapping[str, Any], codes: dict[str, int], path: str | Path
) -> None:
    """Raise `BadCheckpoint` unless the tensors have the sizes of the yaml."""
    found = {theirs: getattr(widths, ours) for ours, theirs in WIDTHS.items()} | codes
    sides = [widths.side(level) for level in range(len(widths.multipliers))]
    # A resolution that no level has asks for no attention.
    asked = tuple(side for side in sides if side in told["attn_resolutions"])
    wanted = dict(told) | {name: model.number(name) for name in codes} | {"attn_resolutions": asked}
    for name, value in found.items():
        if wanted[name] != value:
            raise BadCheckpoint(
                f"{model.path} says {name} {wanted[name]}, but {path} has tensors for {value}; "
                "give the yaml that came with this checkpoint"
            )


def _segments(model: Target | None) -> bool:
    return model is not None and (
        model.name.endswith("VQSegmentationModel")
        or model.params.get("image_key") == "segmentation"
        or bool(model.params.get("colorize_nlabels"))
    )


def _annealing(model: Target, default: Mapping[str, Any]) -> dict[str, Any]:
    """How the temperature falls, and the weight of the prior."""
    anneal = dict(default["anneal"])
    schedule = model.params.get("temperature_scheduler_config")
    if isinstance(schedule, Mapping) and isinstance(schedule.get("params"), Mapping):
        falls = Target("its schedule of temperatures", schedule["params"], model.path)
        names = {"start": "lr_max", "end": "lr_min", "steps": "max_decay_steps"}
        anneal |= {ours: falls.number(theirs, anneal[ours]) for ours, theirs in names.items()}
    return {"anneal": anneal, "prior": model.number("kl_weight", default["prior"])}


def _size(tensors: Tensors, name: str, axis: int, dims: int, path: str | Path) -> int:
    if name not in tensors:
        raise BadCheckpoint(f"{path} has no {name!r}: it is no VQGAN of CompVis/taming-transformers")
    return size_of(tensors, name, axis, dims=dims, path=path)


def _count(tensors: Tensors, prefix: str, pattern: str) -> int:
    """How many different numbers there are in the names that match."""
    found = re.compile(re.escape(prefix) + pattern)
    return len({match[1] for name in tensors if (match := found.match(name))})
