"""Code files (``.svq``): one recording's codes, bit-packed, with what is needed to decode them.

All numbers are big-endian. The layout, in order:

    8 bytes   89 53 56 51 0D 0A 1A 0A    "SVQ" between bytes that a transfer as text would damage
    u8        version, 1
    u8        R, number of grid axes (1 sound, 2 pictures, 3 films)
    u16       K, number of codebooks
    u32       codebook size N
    f64       rate, samples per second of the signal
    f64       frame rate, codes per second
    8 bytes   fingerprint of the codec (`Codec.fingerprint`)
    R x u32   grid, codes along each axis
    R x u64   size, samples along each axis of the signal before encoding
    payload   the indices in raster order over the grid, the K codebooks of a place side by side,
              each as ceil(log2 N) bits (at least one), most significant first; zero bits at the end
    u32       CRC-32 of everything above
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechvq.errors import BadCodes, BadSetting
from speechvq.store.atomic import atomic

SUFFIX = ".svq"
_MAGIC = b"\x89SVQ\r\n\x1a\n"
_HEAD = struct.Struct(">8sBBHIdd8s")
_AXES = 3


@dataclass(frozen=True)
class StoredCodes:
    """The codes of one recording and what made them.

    Attributes:
        indices: (1, K, *grid) int64, every one in [0, codebook_size).
        codebook_size: N.
        rate: samples per second of the signal.
        frame_rate: codes per second.
        size: samples along each axis of the signal before encoding.
        fingerprint: sixteen hex digits, `Codec.fingerprint` of the codec that made the codes.
    """

    indices: Tensor
    codebook_size: int
    rate: float
    frame_rate: float
    size: tuple[int, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        if not 3 <= self.indices.dim() <= 2 + _AXES or self.indices.shape[0] != 1:
            raise BadSetting(f"a code file holds indices (1, K, *grid), not {tuple(self.indices.shape)}")
        if len(self.size) != self.indices.dim() - 2:
            raise BadSetting(f"the size {self.size} must have as many axes as the grid of the indices")
        places = self.indices.flatten()
        if len(places) and not (places.min() >= 0 and places.max() < self.codebook_size):
            raise BadSetting(f"every index must be in [0, {self.codebook_size}) to be stored")

    @property
    def grid(self) -> tuple[int, ...]:
        """Codes along each axis."""
        return tuple(self.indices.shape[2:])

    @property
    def bits(self) -> int:
        """Bits per index."""
        return _bits(self.codebook_size)

    def check(self, fingerprint: str, *, source: str | Path = "the code file") -> None:
        """Raise `BadCodes` unless the codec with this fingerprint made the codes."""
        if fingerprint != self.fingerprint:
            raise BadCodes(
                f"{source} was made by another codec (fingerprint {self.fingerprint}, this one "
                f"is {fingerprint}); give the codec that encoded it with --codec"
            )


def pack(stored: StoredCodes) -> bytes:
    """The bytes of a code file."""
    places = stored.indices[0].movedim(0, -1).reshape(-1, 1).cpu().numpy().astype(np.uint32)
    shifts = np.arange(stored.bits - 1, -1, -1, dtype=np.uint32)
    payload = np.packbits(((places >> shifts) & 1).astype(np.uint8)).tobytes()
    head = _HEAD.pack(
        _MAGIC,
        1,
        len(stored.grid),
        stored.indices.shape[1],
        stored.codebook_size,
        stored.rate,
        stored.frame_rate,
        bytes.fromhex(stored.fingerprint),
    )
    axes = struct.pack(f">{len(stored.grid)}I{len(stored.size)}Q", *stored.grid, *stored.size)
    body = head + axes + payload
    return body + struct.pack(">I", zlib.crc32(body))


def unpack(data: bytes, *, source: str | Path = "the input") -> StoredCodes:
    """The codes in the bytes of a code file; ``source`` is named in the error.

    Raises:
        BadCodes: not a code file, of a later version, truncated or damaged.
    """
    if not data:
        raise BadCodes(f"{source} is empty; a code file was expected")
    if not data.startswith(_MAGIC[: len(data)]):
        raise BadCodes(f"{source} is not a code file of speechvq ({SUFFIX}); `speechvq encode` makes one")
    damaged = BadCodes(f"{source} is truncated or damaged; encode the recording again")
    if len(data) < _HEAD.size + 4:
        raise damaged
    _, version, rank, depth, size, rate, frame_rate, mark = _HEAD.unpack_from(data)
    if zlib.crc32(data[:-4]) != struct.unpack(">I", data[-4:])[0]:
        raise damaged
    if version != 1:
        raise BadCodes(f"{source} has version {version} of the format; this speechvq reads version 1")
    start = _HEAD.size + 12 * rank
    if not 1 <= rank <= _AXES or len(data) < start + 4 or size < 1 or depth < 1:
        raise damaged
    axes = struct.unpack_from(f">{rank}I{rank}Q", data, _HEAD.size)
    grid, count = axes[:rank], depth * math.prod(axes[:rank])
    # The CRC has no say about a header made up by somebody: ask for the exact length before unpacking.
    if len(data) != start + (count * _bits(size) + 7) // 8 + 4 or not (rate > 0 and frame_rate > 0):
        raise damaged
    indices = _indices(data[start:-4], count, _bits(size)).reshape(1, *grid, depth).movedim(-1, 1)
    if count and int(indices.max()) >= size:
        raise damaged
    return StoredCodes(indices.contiguous(), size, rate, frame_rate, axes[rank:], mark.hex())


def write_codes(path: str | Path, stored: StoredCodes, *, force: bool = False) -> None:
    """Write a code file, whole or not at all; `WouldOverwrite` if it is there and not ``force``."""
    with atomic(path, force=force) as temporary:
        temporary.write_bytes(pack(stored))


def read_codes(path: str | Path) -> StoredCodes:
    """The codes of a file; `BadCodes` if it is missing, not a code file, truncated or damaged."""
    path = Path(path)
    if not path.is_file():
        raise BadCodes(f"there is no code file {path}")
    return unpack(path.read_bytes(), source=path)


def _bits(codebook_size: int) -> int:
    return max(1, (codebook_size - 1).bit_length())


def _indices(payload: bytes, count: int, bits: int) -> Tensor:
    flags = np.unpackbits(np.frombuffer(payload, dtype=np.uint8), count=count * bits).reshape(count, bits)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    return torch.from_numpy(flags.astype(np.int64) @ weights)
