"""Code files: what goes in comes out, in as few bits as there are, and damage is recognised."""

import math
import struct
import zlib
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadCodes, BadSetting, WouldOverwrite
from speechvq.store.codes import StoredCodes, pack, read_codes, unpack, write_codes


def stored(*, size: int = 256, depth: int = 1, grid: tuple[int, ...] = (37,), hop: int = 320) -> StoredCodes:
    """Random codes of one recording."""
    generator = torch.Generator().manual_seed(size + depth)
    indices = torch.randint(0, size, (1, depth, *grid), generator=generator)
    samples = tuple(max(0, n * hop - 5) for n in grid)
    return StoredCodes(indices, size, 16000.0, 16000 / hop, samples, "0123456789abcdef")


@pytest.mark.parametrize("size", [1, 2, 3, 100, 256, 257, 512, 65536, 2**32 - 1])
@pytest.mark.parametrize(("depth", "grid"), [(1, (37,)), (4, (5,)), (2, (3, 7)), (1, (2, 3, 4)), (1, (0,))])
def test_round_trip(size: int, depth: int, grid: tuple[int, ...]) -> None:
    before = stored(size=size, depth=depth, grid=grid)
    after = unpack(pack(before))
    assert torch.equal(before.indices, after.indices)
    assert after.indices.dtype == torch.int64
    for name in ("codebook_size", "rate", "frame_rate", "size", "fingerprint", "grid"):
        assert getattr(before, name) == getattr(after, name)


def test_bits_agree_with_a_slow_packing() -> None:
    before = stored(size=300, depth=2, grid=(11,))
    digits = "".join(f"{int(i):09b}" for t in range(11) for i in before.indices[0, :, t])
    digits += "0" * (-len(digits) % 8)
    slow = bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    assert pack(before)[40 + 12 : -4] == slow


def test_a_minute_costs_what_the_bitrate_says() -> None:
    minute = stored(size=256, grid=(3000,))
    overhead = 40 + 12 + 4
    assert len(pack(minute)) - overhead == 3000 * math.log2(256) / 8


def test_every_flipped_byte_and_every_cut_is_recognised() -> None:
    data = pack(stored())
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        with pytest.raises(BadCodes):
            unpack(bytes(flipped))
        with pytest.raises(BadCodes):
            unpack(data[:place])
    with pytest.raises(BadCodes):
        unpack(data + b"\0")


def test_a_made_up_header_with_a_right_checksum_is_refused() -> None:
    data = bytearray(pack(stored())[:-4])
    struct.pack_into(">I", data, 40, 2**32 - 1)  # a grid of four thousand million codes
    with pytest.raises(BadCodes, match="damaged"):
        unpack(bytes(data) + struct.pack(">I", zlib.crc32(data)))
    data = bytearray(pack(stored())[:-4])
    data[8] = 2
    with pytest.raises(BadCodes, match="version 2"):
        unpack(bytes(data) + struct.pack(">I", zlib.crc32(data)))
    data = bytearray(pack(stored(size=200))[:-4])
    data[-1] = 255  # an index that the codebook does not have
    with pytest.raises(BadCodes, match="damaged"):
        unpack(bytes(data) + struct.pack(">I", zlib.crc32(data)))


def test_the_wrong_codec_is_refused() -> None:
    stored().check("0123456789abcdef")
    with pytest.raises(BadCodes, match="a.svq was made by another codec"):
        stored().check("fedcba9876543210", source="a.svq")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.svq"
    write_codes(path, stored())
    assert torch.equal(read_codes(path).indices, stored().indices)
    with pytest.raises(WouldOverwrite):
        write_codes(path, stored())
    write_codes(path, stored(depth=2), force=True)
    assert read_codes(path).indices.shape[1] == 2
    assert [p.name for p in path.parent.iterdir()] == ["a.svq"]
    for bad in (tmp_path, tmp_path / "none.svq"):
        with pytest.raises(BadCodes, match="there is no code file"):
            read_codes(bad)


def test_what_cannot_be_stored() -> None:
    with pytest.raises(BadSetting, match="every index"):
        StoredCodes(torch.full((1, 1, 3), -1), 256, 16000, 50, (960,), "00" * 8)
    with pytest.raises(BadSetting, match="K"):
        StoredCodes(torch.zeros(2, 1, 3, dtype=torch.int64), 256, 16000, 50, (960,), "00" * 8)
    with pytest.raises(BadSetting, match="axes"):
        StoredCodes(torch.zeros(1, 1, 3, dtype=torch.int64), 256, 16000, 50, (960, 2), "00" * 8)
