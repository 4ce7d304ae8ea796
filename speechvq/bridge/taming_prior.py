"""The published transformer as our prior: its sizes, what it is told, its mask, and its order of places.

How many heads its attention has cannot be seen in its tensors, and neither can what it is told unless that
has a codec of its own: both come from the yaml, or are asked for.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechvq.bridge.checkpoint import Tensors, size_of
from speechvq.bridge.taming_buffers import read_masks, read_order
from speechvq.bridge.taming_config import CONDITIONS, GPT_CLASS, ORDERS, WORDS, Target
from speechvq.bridge.taming_names import GPT
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.nets.transformer import Depth
from speechvq.prior.conditions import Given
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.gpt_settings import Reading

SIDE = 16
"""Places a side of what the published models read."""
NAMES = {"coord": "coordinates", "class_label": "label"}
"""Their names of conditions that have another one here."""


@dataclass(frozen=True)
class Source:
    """A file with a transformer in it.

    Attributes:
        tensors: by their names.
        path: the file.
        model: what the yaml says of it, if there is one.
        heads: of its attention, if that was said.
    """

    tensors: Tensors
    path: str | Path
    model: Target | None = None
    heads: int | None = None

    def size(self, name: str, axis: int, dims: int) -> int:
        """Size of one axis of the tensor ``transformer.name``; `BadCheckpoint` if there is none."""
        if GPT + name not in self.tensors:
            raise BadCheckpoint(
                f"{self.path} has no {GPT + name!r}: it is no transformer of CompVis/taming-transformers"
            )
        return size_of(self.tensors, GPT + name, axis, dims=dims, path=self.path)


def empty_prior(source: Source, codec: Codec, condition: Codec | None) -> GPTPrior:
    """A prior of the sizes of the file; its weights are yet to come.

    Args:
        source: the file.
        codec: of the pictures, with its weights.
        condition: that of the map which it is told, if it is told one.

    Raises:
        BadCheckpoint: no prior is like that.
        BadSetting: neither a yaml nor ``heads`` tells how many heads there are, or they differ.
    """
    given = _given(source, condition)
    depth, vocabulary = _depth(source), source.size("tok_emb.weight", 0, 2)
    window = _window(given, depth.reach)
    unmasked = _unmasked(source, depth)
    told = {"map": math.prod(window), "coordinates": math.prod(window)}.get(given[0].kind, 1) if given else 1
    if unmasked > told and not (given and given[0].kind == "tokens"):
        raise BadCheckpoint(
            f"{source.path}: its mask lets {unmasked} places see one another, of which only {told} are "
            "told before the codes; nothing can be drawn from that"
        )
    keep = 1.0 if source.model is None else float(source.model.number("pkeep", 1.0))
    codes, fingerprint = codec.quantizer.codebook_size, codec.fingerprint
    try:
        reading = Reading(window, _order(source, window), unmasked, keep, vocabulary=vocabulary)
        return GPTPrior(codes, size=depth, given=given, reading=reading, codec=fingerprint)
    except BadSetting as error:
        raise BadCheckpoint(f"{source.path} has sizes that no transformer has: {error}") from error


def official(prior: GPTPrior, stages: dict[str, Any]) -> dict[str, Any]:
    """The "target" and "params" by which the published code makes the same, around those of its codecs."""
    depth, reading = prior.net.depth, prior.reading
    sizes = {"vocab_size": reading.vocabulary, "block_size": depth.reach, "n_layer": depth.layers}
    sizes |= {"n_head": depth.heads, "n_embd": depth.width, "n_unmasked": reading.unmasked}
    sizes |= dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), depth.dropout)
    params = {"transformer_config": {"target": GPT_CLASS, "params": sizes}, "pkeep": reading.keep} | stages
    one = prior.given[0] if prior.given else None
    classes = {kind: name for name, kind in reversed(CONDITIONS.items())}
    if one is None:
        params["cond_stage_config"] = "__is_unconditional__"
    elif one.kind != "map":
        arguments = {
            "label": {"n_classes": one.size},
            "coordinates": {"n_embed": one.size, "down_factor": one.hop},
            "tokens": {"conditional_key": one.name},
        }[one.kind]
        params["cond_stage_config"] = {"target": classes[one.kind], "params": arguments}
    if one is not None:
        back = {ours: theirs for theirs, ours in NAMES.items()}
        params["cond_stage_key"] = back.get(one.name, one.name)
    if reading.order != "raster":
        height, width = reading.window
        name = next(name for name, ours in ORDERS.items() if ours == reading.order)
        params["permuter_config"] = {"target": name, "params": {"H": height, "W": width}}
    return params


def _given(source: Source, condition: Codec | None) -> tuple[Given, ...]:
    """What it is told before the codes."""
    if source.model is None:
        if condition is None:
            raise BadCheckpoint(
                f"{source.path} does not say what its transformer is told, a class, coordinates or nothing; "
                "give the yaml that came with it (--config)"
            )
        return (_map("condition", condition),)
    params = source.model.params
    name = str(params.get("cond_stage_key", "depth"))
    name = NAMES.get(name, name)
    if condition is not None:
        return (_map(name, condition),)
    stage = stage_of(source.model)
    kind = CONDITIONS.get(stage.name, "nothing")
    if kind == "label":
        return (Given("label", stage.number("n_classes"), "label"),)
    if kind == "coordinates":
        size, hop = stage.number("n_embed"), stage.number("down_factor")
        return (Given("coordinates", size, "coordinates", hop=hop),)
    if kind == "tokens":
        return (Given(name, source.size("tok_emb.weight", 0, 2), "tokens"),)
    first = Target(stage.name, {**params, **stage.params}, stage.path).number("sos_token", 0)
    if first != 0:
        raise BadCheckpoint(f"{stage.path}: its rows begin with the token {first}; only 0 is supported")
    return ()


def _map(name: str, codec: Codec) -> Given:
    return Given(name, codec.quantizer.codebook_size, codec=codec.fingerprint)


def stage_of(model: Target) -> Target:
    """What a transformer's yaml says it is told by; "__is_unconditional__" for nothing."""
    if model.params.get("unconditional"):
        return Target("__is_unconditional__", {}, model.path)
    return model.part("cond_stage_config", (*CONDITIONS, *WORDS))


def _depth(source: Source) -> Depth:
    """Widths and depths."""
    sizes = {
        "n_embd": source.size("tok_emb.weight", 1, 2),
        "vocab_size": source.size("tok_emb.weight", 0, 2),
        "block_size": source.size("pos_emb", 1, 3),
        "n_layer": len({name.split(".")[2] for name in source.tensors if name.startswith(GPT + "blocks.")}),
    }
    heads, dropout = source.heads, 0.0
    if source.model is not None:
        told = source.model.part("transformer_config", [GPT_CLASS])
        for name, value in sizes.items():
            if told.number(name) != value:
                raise BadCheckpoint(
                    f"{told.path} says {name} {told.number(name)}, but {source.path} has tensors for "
                    f"{value}; give the yaml that came with this checkpoint"
                )
        dropout = float(told.number("resid_pdrop", 0.0))
        if heads is not None and heads != told.number("n_head"):
            raise BadSetting(f"{told.path} says {told.number('n_head')} heads, not {heads}; leave one out")
        heads = told.number("n_head")
    if heads is None:
        raise BadSetting(
            f"how many heads of attention {source.path} has cannot be seen in its tensors of width "
            f"{sizes['n_embd']}; give its yaml (--config), or the number of heads (--heads)"
        )
    try:
        return Depth(sizes["n_layer"], sizes["n_embd"], heads, sizes["block_size"], "learned", dropout)
    except BadSetting as error:
        raise BadSetting(f"{source.path}: {error}") from error


def _window(given: tuple[Given, ...], reach: int) -> tuple[int, ...]:
    """The square of places that fits after what is told; the last code is never read."""
    kind = given[0].kind if given else "nothing"
    side = math.isqrt((reach + 1) // 2 if kind in ("map", "coordinates") else reach)
    # How long a list of tokens is, the transformer does not say.
    return (min(side, SIDE),) * 2 if kind == "tokens" else (side,) * 2


def _unmasked(source: Source, depth: Depth) -> int:
    """How many of the first places see one another, by the masks and the yaml."""
    told = None
    if source.model is not None:
        told = int(source.model.part("transformer_config", [GPT_CLASS]).number("n_unmasked", 0))
    return read_masks(source.tensors, depth, told, path=source.path)


def _order(source: Source, window: tuple[int, ...]) -> str:
    """The order of places, by the buffers and the yaml."""
    told = None
    if source.model is not None and source.model.params.get("permuter_config") is not None:
        told = ORDERS[source.model.part("permuter_config", ORDERS).name]
    return read_order(source.tensors, window, told, path=source.path)
