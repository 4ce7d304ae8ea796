"""Bits per dimension: what codes and picture take together, a bound on any model's nats of the picture.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.1): with the codes of x
for z, log p(x) >= log p(x | z) + log p(z). While the codec learns the prior is uniform and the second
term is a constant; a prior that was trained on the codes afterwards makes the bound tighter.
"""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from speechvq.codec import Codec, Codes, evaluating
from speechvq.errors import BadSetting


@runtime_checkable
class Likely(Protocol):
    """A decoder that has a likelihood."""

    def nats(self, vectors: Tensor, picture: Tensor) -> Tensor:
        """-log p(picture | vectors) of (B, D, *grid) and (B, C, H, W): (B,) nats."""
        ...


@torch.no_grad()
def bits_per_dim(
    codec: Codec, picture: Tensor, *, code_nats: Callable[[Codes], Tensor] | None = None
) -> Tensor:
    """Bits that codes and picture take together, for each value of (B, C, H, W) pictures: (B,).

    -log p(x) is at most -log p(x | codes of x) - log p(codes of x), whatever the codec and the prior.

    Args:
        codec: a codec whose decoder has a likelihood.
        picture: in [-1, 1]; it stands for the nearest of 256 levels.
        code_nats: nats of every code (B, K, *grid), such as `Prior.nats`; None for a uniform prior, which
            takes log(codebook_size) for each.

    Raises:
        BadSetting: the decoder has no likelihood.
    """
    if not isinstance(codec.decoder, Likely):
        raise BadSetting(
            f"bits per dimension need a likelihood; the decoder {codec.decoder.spec['name']!r} has none"
        )
    codes = codec.encode(picture)
    if code_nats is None:
        of_codes = codes.indices[0].numel() * math.log(codec.quantizer.codebook_size)
    else:
        of_codes = code_nats(codes).double().flatten(1).sum(1)
    with evaluating(codec):
        of_picture = codec.decoder.nats(codec.quantizer.decode(codes.indices), picture)
    return (of_picture + of_codes) / (picture[0].numel() * math.log(2))
