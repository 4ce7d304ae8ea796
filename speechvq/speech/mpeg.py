"""How long is an MP3 that does not say so?

Encoders put the number of frames into the first one (as `Xing`, `Info` or `VBRI`). Where that is
missing, decoders guess from the first frame's bit rate, which fails for variable rates; here the frame
headers are walked instead (ISO 11172-3, section 2.4.2.3).
"""

from dataclasses import dataclass
from pathlib import Path

KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # by MPEG version, layer III
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits


@dataclass(frozen=True)
class Walk:
    """What the frame headers of an MP3 without a length add up to."""

    samples: int  # a channel
    cut_short: bool  # the last frame is not complete


def walk(path: Path) -> Walk | None:
    """Count an MP3's samples by its frame headers; None for other files and where the length is written."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] != b"ID3" and _frame(head[:4]) is None:
            return None
        content = head + file.read()
    at = 0
    if head[:3] == b"ID3":  # a tag, with its size in four bytes of seven bits
        at = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    first = _frame(content[at : at + 4])
    if first is None or any(mark in content[at : at + first[0]] for mark in (b"Xing", b"Info", b"VBRI")):
        return None
    samples = 0
    while (frame := _frame(content[at : at + 4])) is not None:
        if at + frame[0] > len(content):
            return Walk(samples, cut_short=True)
        at, samples = at + frame[0], samples + frame[1]
    return Walk(samples, cut_short=False)


def _frame(head: bytes) -> tuple[int, int] | None:
    """Bytes and samples of the layer III frame that begins with these four bytes, if one does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3
    if version not in RATES or head[2] >> 4 in (0, 15) or head[2] >> 2 & 3 == 3:
        return None
    rate = RATES[version][head[2] >> 2 & 3]
    bits = 1000 * KBITS[1 if version == 3 else 2][head[2] >> 4]
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits // rate + (head[2] >> 1 & 1), samples
