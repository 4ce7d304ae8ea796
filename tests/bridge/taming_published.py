"""Files of CompVis/taming-transformers, made from what their layers are, and filled by the hash.

Nothing here comes from speechvq: names and shapes are written down layer by layer, so that agreement with
the bridge's map of names means something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests.hashfill import values

type Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class VQGAN:
    """Sizes; ``attends`` are levels."""

    ch: int = 32
    mult: Sequence[int] = (1, 1, 2, 2, 4)
    blocks: int = 2
    attends: Sequence[int] = (4,)
    z: int = 64
    embed: int = 64
    codes: int = 128
    colours: int = 3
    gumbel: bool = False
    colorize: bool = False
    resolution: int = 64

    def yaml(self, **params: Any) -> dict[str, Any]:
        name = "GumbelVQ" if self.gumbel else "VQModel"
        ddconfig = {
            "double_z": False, "z_channels": self.z, "resolution": self.resolution,
            "in_channels": self.colours, "out_ch": self.colours, "ch": self.ch, "ch_mult": list(self.mult),
            "num_res_blocks": self.blocks, "dropout": 0.0,
            "attn_resolutions": [self.resolution // 2**level for level in self.attends],
        }  # fmt: skip
        loss = {"target": "taming.modules.losses.DummyLoss"}
        own = {"embed_dim": self.embed, "n_embed": self.codes, "ddconfig": ddconfig, "lossconfig": loss}
        return {"target": f"taming.models.vqgan.{name}", "params": own | params}


SMALL = VQGAN()
GUMBEL = VQGAN(mult=(1, 1, 2, 4), attends=(3,), gumbel=True)
TINY = VQGAN(mult=(1, 1), blocks=1, attends=(), z=16, embed=8, codes=64, resolution=32)


def both(name: str, *shape: int, bias: int | None = None) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0] if bias is None else bias,)}


def conv(name: str, outer: int, inner: int, kernel: int = 3) -> Shapes:
    return both(name, outer, inner, kernel, kernel)


def residual(name: str, inner: int, outer: int) -> Shapes:
    shapes = both(f"{name}.norm1", inner) | conv(f"{name}.conv1", outer, inner)
    shapes |= both(f"{name}.norm2", outer) | conv(f"{name}.conv2", outer, outer)
    return shapes | (conv(f"{name}.nin_shortcut", outer, inner, 1) if inner != outer else {})


def attention(name: str, wide: int) -> Shapes:
    shapes = both(f"{name}.norm", wide)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= conv(f"{name}.{part}", wide, wide, 1)
    return shapes


def middle(name: str, wide: int) -> Shapes:
    first, last = (residual(f"{name}.mid.block_{i}", wide, wide) for i in (1, 2))
    return first | attention(f"{name}.mid.attn_1", wide) | last


def vqgan(sizes: VQGAN) -> Shapes:
    wide = [sizes.ch * times for times in sizes.mult]
    shapes, here, last = conv("encoder.conv_in", sizes.ch, sizes.colours), sizes.ch, len(wide) - 1
    for level, outer in enumerate(wide):
        for block in range(sizes.blocks):
            shapes |= residual(f"encoder.down.{level}.block.{block}", here, outer)
            here = outer
            if level in sizes.attends:
                shapes |= attention(f"encoder.down.{level}.attn.{block}", outer)
        if level < last:
            shapes |= conv(f"encoder.down.{level}.downsample.conv", outer, outer)
    shapes |= middle("encoder", here) | both("encoder.norm_out", here)
    shapes |= conv("encoder.conv_out", sizes.z, here) | conv("decoder.conv_in", here, sizes.z)
    shapes |= middle("decoder", here)
    for level in reversed(range(len(wide))):
        for block in range(sizes.blocks + 1):
            shapes |= residual(f"decoder.up.{level}.block.{block}", here, wide[level])
            here = wide[level]
            if level in sizes.attends:
                shapes |= attention(f"decoder.up.{level}.attn.{block}", here)
        if level:
            shapes |= conv(f"decoder.up.{level}.upsample.conv", here, here)
    shapes |= both("decoder.norm_out", here) | conv("decoder.conv_out", sizes.colours, here)
    shapes |= conv("quant_conv", sizes.embed, sizes.z, 1) | conv("post_quant_conv", sizes.z, sizes.embed, 1)
    if sizes.gumbel:
        shapes |= conv("quantize.proj", sizes.codes, sizes.z, 1)
        shapes["quantize.embed.weight"] = (sizes.codes, sizes.embed)
    else:
        shapes["quantize.embedding.weight"] = (sizes.codes, sizes.embed)
    return shapes | ({"colorize": (3, sizes.colours, 1, 1)} if sizes.colorize else {})


def gpt(vocabulary: int, reach: int, layers: int, wide: int) -> Shapes:
    shapes: Shapes = {"pos_emb": (1, reach, wide), "tok_emb.weight": (vocabulary, wide)}
    for layer in range(layers):
        block = f"blocks.{layer}"
        for norm in ("ln1", "ln2"):
            shapes |= both(f"{block}.{norm}", wide)
        for part in ("key", "query", "value", "proj"):
            shapes |= both(f"{block}.attn.{part}", wide, wide)
        shapes |= both(f"{block}.mlp.0", 4 * wide, wide) | both(f"{block}.mlp.2", wide, 4 * wide)
    return shapes | both("ln_f", wide) | {"head.weight": (vocabulary, wide)}


def discriminator(layers: int, colours: int = 3, *, act: bool = False) -> dict[str, Tensor]:
    """Filled, with names that begin with "main"."""
    shapes, here, place = conv("main.0", 64, colours, 4), 64, 2
    for layer in range(1, layers + 1):
        wide = 64 * min(2**layer, 8)
        shapes |= conv(f"main.{place}", wide, here, 4)
        if act:
            shapes |= {f"main.{place + 1}.{n}": (1, wide, 1, 1) for n in ("loc", "scale")}
        else:
            del shapes[f"main.{place}.bias"]
            shapes |= both(f"main.{place + 1}", wide)
            shapes |= {f"main.{place + 1}.running_{n}": (wide,) for n in ("mean", "var")}
        here, place = wide, place + 3
    tensors = filled(shapes | conv(f"main.{place}", 1, here, 4))
    for norm in range(3, place, 3):
        name, kind = ("initialized", torch.uint8) if act else ("num_batches_tracked", torch.int64)
        tensors[f"main.{norm}.{name}"] = torch.tensor(1, dtype=kind)
    return tensors


def filled(shapes: Shapes, prefix: str = "") -> dict[str, Tensor]:
    """Named with the prefix, and filled as if without it."""
    return {prefix + name: values(name, shape) for name, shape in shapes.items()}


def masks(reach: int, layers: int, unmasked: int = 0) -> dict[str, Tensor]:
    seen = torch.zeros(1, 1, reach, reach)
    for row in range(reach):
        seen[0, 0, row, : row + 1] = 1
        if row < unmasked:
            seen[0, 0, row, :unmasked] = 1
    return {f"transformer.blocks.{layer}.attn.mask": seen.clone() for layer in range(layers)}


def transformer(
    told: Any, *, vocabulary: int = 64, reach: int = 512, layers: int = 2, heads: int = 4, **params: Any
) -> dict[str, Any]:
    """The yaml of one of width 32 over `TINY`, told by ``told``."""
    sizes = {"vocab_size": vocabulary, "block_size": reach, "n_layer": layers, "n_head": heads, "n_embd": 32}
    sizes |= params.pop("gpt", {})
    own = {"transformer_config": {"target": "taming.modules.transformer.mingpt.GPT", "params": sizes}}
    own |= {"first_stage_config": TINY.yaml(), "cond_stage_config": told}
    return {"target": "taming.models.cond_transformer.Net2NetTransformer", "params": own | params}


def net2net(condition: bool = True, *, reach: int = 512, layers: int = 2) -> dict[str, Tensor]:
    """Of width 32 and 64 tokens over `TINY`, with a codec of its own for the condition or none."""
    tensors = filled(gpt(64, reach, layers, 32), "transformer.") | masks(reach, layers)
    first, other = _stages()
    return tensors | first | (other if condition else {})


@cache
def _stages() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    first = filled(vqgan(TINY), "first_stage_model.")
    return first, {f"cond_stage_model.{n}": values("other." + n, s) for n, s in vqgan(TINY).items()}


def without(tensors: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def write(path: Path, tensors: dict[str, Tensor], **more: Any) -> Path:
    torch.save({"epoch": 3, "global_step": 9, "state_dict": tensors} | more, path)
    return path


def write_yaml(path: Path, model: dict[str, Any]) -> Path:
    OmegaConf.save({"model": {"base_learning_rate": 4.5e-6} | model, "data": {"target": "main.Data"}}, path)
    return path
