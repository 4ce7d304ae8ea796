"""Pictures of several sizes in one batch: each is in the upper left of its row, and seen as if alone.

Networks with norms or attention over a whole picture would otherwise see what is not there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from speechvq.codec import Batch
from speechvq.errors import BadSetting

type Net = Callable[[Tensor], Tensor]
type Sizes = list[tuple[int, int]]
"""Rows and columns (h, w) of each item."""


def grid_of(size: tuple[int, ...], hop: int) -> tuple[int, int]:
    """Vectors down and across of a picture of ``size`` (H, W), one for each whole ``hop`` pixels.

    Raises:
        BadSetting: the picture is smaller than a hop.
    """
    height, width = (side // hop for side in size)
    if min(height, width) < 1:
        raise BadSetting(
            f"a picture of {size[0]} x {size[1]} pixels is too small for this encoder, "
            f"which needs {hop} a side"
        )
    return height, width


def encode_each(encode: Net, signal: Tensor, mask: Tensor | None, *, hop: int, dim: int) -> Tensor:
    """``encode`` of pictures (B, C, H, W): (B, dim, H // hop, W // hop).

    Those that a ``mask`` (B, H, W) cuts to size are encoded one by one, and zeros if smaller than a hop.

    Raises:
        BadSetting: all are smaller than a hop.
    """
    grid = grid_of(tuple(signal.shape[2:]), hop)
    if mask is None or bool(mask.all()):
        return encode(signal)
    sizes = [(h, w) if min(h, w) >= hop else (0, 0) for h, w in sizes_of(mask)]
    return one_by_one(encode, signal, sizes, grid, dim)


@dataclass(frozen=True)
class Compared:
    """What a decoder says of a batch, beside the pictures; neither has what no code stands for.

    Attributes:
        said: (B, channels, h * hop, w * hop), float32.
        target: (B, C, h * hop, w * hop), the upper left part of the batch's signal.
        weight: (B, 1, h * hop, w * hop), 1 where there is a picture and a code for it, else 0.
    """

    said: Tensor
    target: Tensor
    weight: Tensor


def compare(decode: Net, vectors: Tensor, batch: Batch, *, hop: int, channels: int) -> Compared:
    """What ``decode`` says of a batch's vectors (B, D, h, w), for `Decoder.reconstruct`."""
    codes = None if batch.mask is None else [(h // hop, w // hop) for h, w in sizes_of(batch.mask)]
    said = decode_each(decode, vectors, codes, hop=hop, channels=channels).float()
    height, width = said.shape[2:]
    return Compared(said, batch.signal[..., :height, :width], weight_of(said, codes, hop))


def show(
    decode: Net, picture: Net, vectors: Tensor, mask: Tensor | None, *, hop: int, channels: int
) -> Tensor:
    """What ``decode`` says of vectors (B, D, h, w), made a picture by ``picture``, for `Decoder.generate`.

    ``mask`` (B, h, w) is True where vectors are valid, and the picture 0 where they are not.
    """
    sizes = None if mask is None else sizes_of(mask)
    made = picture(decode_each(decode, vectors, sizes, hop=hop, channels=channels))
    return made if sizes is None else made * weight_of(made, sizes, hop)


def decode_each(decode: Net, vectors: Tensor, sizes: Sizes | None, *, hop: int, channels: int) -> Tensor:
    """``decode`` of vectors (B, D, h, w), of each row's valid ones alone if their ``sizes`` are given.

    Returns:
        (B, channels, h * hop, w * hop).
    """
    if sizes is None or all(size == tuple(vectors.shape[2:]) for size in sizes):
        return decode(vectors)
    whole = (vectors.shape[2] * hop, vectors.shape[3] * hop)
    return one_by_one(decode, vectors, sizes, whole, channels)


def sizes_of(mask: Tensor) -> Sizes:
    """Valid rows and columns of each item of a mask (B, H, W)."""
    return [(int(m.any(1).sum()), int(m.any(0).sum())) for m in mask.cpu()]


def one_by_one(net: Net, x: Tensor, sizes: Sizes, whole: tuple[int, ...], channels: int) -> Tensor:
    """``net`` of the upper left part of each row of ``x``, with zeros around it up to ``whole``.

    Args:
        net: (1, C, h, w) to (1, channels, h', w').
        x: (B, C, H, W).
        sizes: (h, w) of each row; where one of them is 0, the row becomes zeros.
        whole: height and width of what comes out.
        channels: of what comes out.

    Returns:
        (B, channels, *whole).
    """
    made = x.new_zeros(len(x), channels, *whole)
    for row, (height, width) in enumerate(sizes):
        if height and width:
            part = net(x[row : row + 1, :, :height, :width])[0]
            made[row, :, : part.shape[1], : part.shape[2]] = part
    return made


def weight_of(like: Tensor, sizes: Sizes | None, hop: int) -> Tensor:
    """(B, 1, H, W) for ``like`` (B, C, H, W): 1 in the upper left (h, w) hops of each row, else 0."""
    weight = like.new_ones(len(like), 1, *like.shape[2:])
    for row, (height, width) in enumerate(sizes or ()):
        weight[row, :, height * hop :] = 0
        weight[row, :, :, width * hop :] = 0
    return weight
