"""What the yaml of a published RQ-Transformer says, read as plain numbers, and written.

Settings of kakaobrain/rq-vae-transformer (Lee et al. 2022) under "arch". What is here knows neither tensors
nor our modules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechvq.errors import BadCheckpoint

KIND = "kakaobrain/rq-vae-transformer"
TYPE = "rq-transformer"
OFFICIAL = ("input_emb_vqvae", "head_emb_vqvae", "cumsum_depth_ctx")
"""What every published yaml says, and no network without is supported."""


@dataclass(frozen=True)
class Arch:
    """What the "arch" of a yaml says that tensors do not.

    Attributes:
        grid: rows and columns of codes.
        depth: codes at each place.
        heads: of both transformers.
        words: what may be told: classes, or words of a text; 1 for nothing.
        length: of what is told.
        dropout: in training.
    """

    grid: tuple[int, int]
    depth: int
    heads: int
    words: int = 1
    length: int = 1
    dropout: float = 0.1


def read_arch(config: Mapping[str, Any], *, path: str | Path) -> Arch:
    """What the yaml says of the transformer.

    Raises:
        BadCheckpoint: it is of another model, or of a network that is not supported.
    """
    arch = config.get("arch")
    if not isinstance(arch, Mapping) or arch.get("type") != TYPE:
        raise BadCheckpoint(f"{path}: its yaml has no arch of the type {TYPE!r}; give the one it came with")
    block = arch.get("block_size")
    if not isinstance(block, Sequence) or len(block) != 3 or not all(_count(one) for one in block):
        raise BadCheckpoint(f"{path}: block_size is {block!r}, not rows, columns and depth")
    for name in OFFICIAL:
        if arch.get(name) is not True:
            raise BadCheckpoint(f"{path}: its yaml does not say {name}: true; nothing else is supported")
    stacks = [_stack(arch, name, path=path) for name in ("body", "head")]
    if stacks[0] != stacks[1]:
        raise BadCheckpoint(f"{path}: body and head have blocks of different kinds, which is not supported")
    words, length = (arch.get(f"{name}_size_cond") or 1 for name in ("vocab", "block"))
    if not _count(words) or not _count(length):
        raise BadCheckpoint(
            f"{path}: vocab_size_cond {words!r} and block_size_cond {length!r} are no numbers"
        )
    rows, columns, depth = block
    heads, dropout = stacks[0]
    return Arch((rows, columns), depth, heads, words, length, dropout)


def check_sizes(config: Mapping[str, Any], found: Mapping[str, int], *, path: str | Path) -> None:
    """Raise `BadCheckpoint` where the yaml tells another of the sizes ``found``; it need not tell them."""
    for name, value in found.items():
        told: Any = config["arch"]
        for part in name.split("."):
            told = told.get(part)
        if isinstance(told, list) and len(set(told)) == 1:  # of each depth
            told = told[0]
        if told is not None and told != value:
            raise BadCheckpoint(
                f"the yaml of {path} says {name} {told}, but {path} has tensors for {value}; give the yaml "
                "that came with this checkpoint"
            )


def _stack(arch: Mapping[str, Any], name: str, *, path: str | Path) -> tuple[int, float]:
    """Heads and dropout of one of the two transformers."""
    stack = arch.get(name)
    block = stack.get("block") if isinstance(stack, Mapping) else None
    if not isinstance(block, Mapping) or not _count(block.get("n_head")):
        raise BadCheckpoint(f"{path}: its yaml does not say {name}.block.n_head, the heads of the attention")
    usual = {"mlp_bias": True, "attn_bias": True, "gelu": "v1"}
    for key, value in usual.items():
        if block.get(key, value) != value:
            raise BadCheckpoint(f"{path}: {name}.block.{key} is {block[key]!r}; only {value!r} is supported")
    dropout = block.get("resid_pdrop", 0.1)
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise BadCheckpoint(f"{path}: {name}.block.resid_pdrop is {dropout!r}, no probability")
    return block["n_head"], float(dropout)


def official_arch(
    arch: Arch, sizes: Mapping[str, int], *, layers: tuple[int, int], shared: bool
) -> dict[str, Any]:
    """The reverse of `read_arch`.

    Args:
        arch: what it would find.
        sizes: more numbers by their names.
        layers: of body and head.
        shared: whether all depths have one classifier.
    """
    block = {"n_head": arch.heads, "resid_pdrop": arch.dropout}
    body, head = ({"n_layer": count, "block": dict(block)} for count in layers)
    flags = dict.fromkeys(OFFICIAL, True) | {"shared_tok_emb": True, "shared_cls_emb": shared}
    told = {"vocab_size_cond": arch.words, "block_size_cond": arch.length}
    grid = {"type": TYPE, "block_size": [*arch.grid, arch.depth]}
    return grid | dict(sizes) | flags | told | {"body": body, "head": head}


def _count(value: Any) -> bool:
    return type(value) is int and value >= 1
