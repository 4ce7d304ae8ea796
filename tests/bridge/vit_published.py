"""Files of thuanz123/enhancing-transformers, made from what its layers are, and filled with waves.

Nothing here comes from speechvq: names and shapes are written down layer by layer, and the fixed positions
computed as that code does, so that agreement with the bridge's map of names means something.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests import wavefill

type Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ViT:
    """Sizes: of encoder and decoder (blocks, heads, width, hidden)."""

    encoder: Sequence[int] = (2, 2, 32, 64)
    decoder: Sequence[int] = (2, 2, 32, 64)
    head: int = 16
    patch: int = 4
    grid: int = 4
    codes: int = 16
    dim: int = 8
    colours: int = 3


TINY = ViT()


def positions(grid: int, width: int) -> np.ndarray:
    """(1, grid * grid, width)."""
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    omega = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4.0))
    halves = []
    for place in (columns, rows):
        angle = np.einsum("m,d->md", place.astype(np.float32), omega)
        halves += [np.sin(angle), np.cos(angle)]
    return np.concatenate(halves, 1).astype(np.float32)[None]


def transformer(part: str, sizes: Sequence[int], head: int) -> Shapes:
    blocks, heads, width, hidden = sizes
    shapes: Shapes = {}
    for i in range(blocks):
        name = f"{part}.transformer.layers.{i}"
        shapes |= {f"{name}.0.norm.weight": (width,), f"{name}.0.norm.bias": (width,)}
        shapes |= {f"{name}.0.fn.to_qkv.weight": (3 * heads * head, width)}
        shapes |= {f"{name}.0.fn.to_out.weight": (width, heads * head), f"{name}.0.fn.to_out.bias": (width,)}
        shapes |= {f"{name}.1.norm.weight": (width,), f"{name}.1.norm.bias": (width,)}
        shapes |= {f"{name}.1.fn.net.0.weight": (hidden, width), f"{name}.1.fn.net.0.bias": (hidden,)}
        shapes |= {f"{name}.1.fn.net.2.weight": (width, hidden), f"{name}.1.fn.net.2.bias": (width,)}
    return shapes | {f"{part}.transformer.norm.weight": (width,), f"{part}.transformer.norm.bias": (width,)}


def shapes_of(vit: ViT) -> Shapes:
    before, after = vit.encoder[2], vit.decoder[2]
    patch = (vit.colours, vit.patch, vit.patch)
    shapes: Shapes = {"encoder.en_pos_embedding": (1, vit.grid**2, before)}
    shapes |= {"encoder.to_patch_embedding.0.weight": (before, *patch)}
    shapes |= {"encoder.to_patch_embedding.0.bias": (before,)}
    shapes |= transformer("encoder", vit.encoder, vit.head)
    shapes |= {"decoder.de_pos_embedding": (1, vit.grid**2, after)}
    shapes |= transformer("decoder", vit.decoder, vit.head)
    shapes |= {"decoder.to_pixel.1.weight": (after, *patch), "decoder.to_pixel.1.bias": (vit.colours,)}
    shapes |= {"quantizer.embedding.weight": (vit.codes, vit.dim)}
    shapes |= {"pre_quant.weight": (vit.dim, before), "pre_quant.bias": (vit.dim,)}
    return shapes | {"post_quant.weight": (after, vit.dim), "post_quant.bias": (after,)}


def filled(vit: ViT = TINY) -> dict[str, Tensor]:
    tensors = {}
    for name, shape in shapes_of(vit).items():
        fixed = name.endswith("pos_embedding")
        tensors[name] = (
            torch.from_numpy(positions(vit.grid, shape[2])) if fixed else wavefill.values(name, shape)
        )
    return tensors


def loss() -> dict[str, Tensor]:
    """What a file holds of the loss."""
    return {
        "loss.perceptual_loss.net.slice1.0.weight": torch.randn(4, 3, 3, 3),
        "loss.discriminator.blocks.0.conv_res.weight": torch.randn(8, 3, 1, 1),
    }


def write(path: Path, tensors: dict[str, Any], **more: Any) -> Path:
    torch.save({"epoch": 3, "global_step": 9, "state_dict": tensors} | more, path)
    return path
