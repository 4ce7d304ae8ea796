"""The published RQ-VAE as a configuration of our codec, and its codebooks as ours.

Sizes are those of the tensors; the yaml tells the rest and must agree. Where depths share a codebook the
file has it once a depth: the copies are compared, and one is kept.
"""

import math
import re
from pathlib import Path
from typing import Any

import torch

from speechvq.bridge.checkpoint import Tensors, check_names, size_of
from speechvq.bridge.places import Places, fill, places_of
from speechvq.bridge.rqvae_arch import KIND
from speechvq.bridge.rqvae_config import Stack
from speechvq.bridge.rqvae_names import EMBED, book_name, codec_name
from speechvq.bridge.taming_config import Target
from speechvq.bridge.taming_vqgan import build, compare, found_widths
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint
from speechvq.image.widths import SIZES
from speechvq.table import called

LATENT = "quant_conv.weight"
NEEDED = (EMBED, LATENT, "encoder.conv_in.weight", "encoder.conv_out.weight")
_BOOK = re.compile(r"quantizer\.codebooks\.(\d+)\.(\w+)$")


def read_codec(tensors: Tensors, told: tuple[Target, Stack] | None, *, path: str | Path) -> Codec:
    """The codec of a ``state_dict`` and of what its yaml says, in evaluation mode.

    Raises:
        BadCheckpoint: it is no RQ-VAE, or the yaml is that of another.
    """
    for name in NEEDED:
        if name not in tensors:
            raise BadCheckpoint(f"{path} has no {name!r}: it is no RQ-VAE of {KIND}")
    tensors, depth, shared = _one_of_each(tensors, path=path)
    codec = build(codec_config(tensors, told, depth=depth, shared=shared, path=path), path=path)
    places = codec_places(codec)
    check_names(tensors, places, path=path, hint=f"this is no RQ-VAE of {KIND}")
    fill(codec, tensors, places, path=path)
    return codec


def codec_places(codec: Codec) -> Places:
    """Their names of a codec's tensors, of the first depth where depths share them, to their places.

    Codebooks have their shape without the row of padding.
    """
    return places_of(codec, codec_name)


def _one_of_each(tensors: Tensors, *, path: str | Path) -> tuple[Tensors, int, bool]:
    """The tensors without copies and rows of padding; how many depths there are, and if they share codes."""
    books: dict[int, Tensors] = {}
    for name, tensor in tensors.items():
        if found := _BOOK.match(name):
            books.setdefault(int(found[1]), {})[found[2]] = tensor
    depth = len(books)
    if sorted(books) != list(range(depth)):
        raise BadCheckpoint(f"{path} has the codebooks {sorted(books)}, which do not follow one another")
    first = books[0]
    copies = [
        book.keys() == first.keys() and all(torch.equal(book[leaf], first[leaf]) for leaf in first)
        for book in books.values()
    ]
    shared = depth > 1 and all(copies)
    kept = {name: tensor for name, tensor in tensors.items() if not _BOOK.match(name)}
    for d, book in books.items():
        if shared and d:
            continue
        kept |= {book_name(d, leaf): tensor for leaf, tensor in book.items()}
        name = book_name(d, "weight")
        if name not in kept or kept[name].dim() != 2 or len(kept[name]) < 2:
            raise BadCheckpoint(f"{path} has no codebook {name!r}: it is no RQ-VAE of {KIND}")
        if kept[name][-1].any():
            raise BadCheckpoint(f"{path}: the last row of {name!r}, which is for padding, is not zero")
        kept[name] = kept[name][:-1]
    return kept, depth, shared


def codec_config(
    tensors: Tensors, told: tuple[Target, Stack] | None, *, depth: int, shared: bool, path: str | Path
) -> dict[str, Any]:
    """What `Codec.build` takes."""
    model, stack = (None, Stack(depth, 1, shared)) if told is None else told
    sizes = {} if model is None else model.widths()
    widths = found_widths(tensors, sizes, path=path)
    codes, dim = (size_of(tensors, EMBED, axis, dims=2, path=path) for axis in (0, 1))
    latent = size_of(tensors, LATENT, 0, dims=4, path=path)
    fold = max(1, math.isqrt(dim // latent))
    if model is not None:
        compare(model, widths, sizes, {"n_embed": codes, "embed_dim": latent}, path)
        found = {"depth": depth, "fold": fold}
        for name, value in found.items():
            if getattr(stack, name) != value:
                raise BadCheckpoint(
                    f"{model.path} says {name} {getattr(stack, name)}, but {path} has tensors for {value}; "
                    "give the yaml that came with this checkpoint"
                )
        if depth > 1 and stack.shared != shared:
            which = "differ" if stack.shared else "are one and the same"
            raise BadCheckpoint(
                f"{model.path} says shared_codebook {stack.shared}, but in {path} they {which}"
            )
    network = {"name": "vqgan", "size": called(widths, SIZES), "fold": fold}
    return {
        "room": "image",
        "rate": 1,
        "encoder": network | {"dim": dim},
        "quantizer": {
            "name": "residual",
            "codebook_size": codes,
            "num_codebooks": depth,
            "shared": stack.shared,
            "learning": {"by": "ema", "decay": stack.decay, "commitment": stack.commitment},
            # As published. Trained on, the codes stay: a start on data would throw them away.
            "start": {"by": "normal"},
            "revival": {} if stack.restarts else {"threshold": 0.0},
        },
        "decoder": network | {"loss": {"error": stack.error, "perceptual": {"network": "lpips"}}},
    }
