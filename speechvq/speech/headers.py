"""Is a sound file shorter than it says? Decoders pass over this for the formats below.

WAV (RIFF, RF64) and AIFF name the size of their sample chunk, NIST SPHERE (TIMIT) its sample count,
and the last page of an Ogg stream is marked as the last. FLAC and MP3 are not here: their decoders
give fewer samples than promised, or an error, and the reader sees it.
"""

import re
import struct
from pathlib import Path
from typing import BinaryIO

OGG_LARGEST_PAGE = 65307
PLACEHOLDER = 0x7FFFF000  # programs that write into a pipe put a size like this, or 0, for "unknown"


def cut_short(path: Path) -> bool:
    """Whether the file ends before its header says; False where the format does not tell."""
    with path.open("rb") as file:
        size = path.stat().st_size
        magic = file.read(4)
        file.seek(0)
        if magic in (b"RIFF", b"RF64", b"RIFX", b"FORM"):
            return _chunks(file, size, big=magic in (b"RIFX", b"FORM"))
        if magic == b"OggS":
            return _ogg(file, size)
        if magic == b"NIST":
            return _sphere(file, size)
    return False


def _chunks(file: BinaryIO, size: int, *, big: bool) -> bool:
    """Walk ``name, size, bytes`` chunks until the one with the samples; sizes are padded to even."""
    order = ">" if big else "<"
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        position += 8
        if name == b"ds64" and position + 16 <= size:  # RF64: sizes of 64 bits, the data's is second
            long_size = struct.unpack("<QQ", file.read(16))[1]
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and long_size is not None:
                return position + long_size > size
            return length < PLACEHOLDER and position + length > size
        position += length + length % 2
    return False


def _ogg(file: BinaryIO, size: int) -> bool:
    """The last page must be complete and carry the end-of-stream flag (RFC 3533, section 6)."""
    file.seek(max(0, size - 2 * OGG_LARGEST_PAGE))
    tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27 or not page[5] & 4:
        return True
    table = page[27 : 27 + page[26]]
    return len(table) < page[26] or len(page) < 27 + len(table) + sum(table)


def _sphere(file: BinaryIO, size: int) -> bool:
    """A text header of the size on its second line, then count × channels × bytes of samples."""
    head = file.read(1024)
    numbers = {k: int(v) for k, v in re.findall(rb"(\w+) -i (\d+)", head)}
    second = re.match(rb"NIST_1A\s+(\d+)", head)
    if second is None or b"sample_count" not in numbers or b"pcm," in head:  # "pcm,embedded-shorten-..."
        return False
    bytes_each = numbers.get(b"sample_n_bytes", 2) * numbers.get(b"channel_count", 1)
    return int(second[1]) + numbers[b"sample_count"] * bytes_each > size
