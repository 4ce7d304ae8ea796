"""What the report page shows of a recording: player, spectrogram, and its units over the waveform."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from torch import Tensor

from speechvq.errors import MissingExtra
from speechvq.score.codes import Run
from speechvq.speech.picture import compressed, outline, spectrogram_levels
from speechvq.store.atomic import atomic

PIXELS_PER_SECOND = 320
"""Time scale of the source's figures, wide enough to read the units' numbers."""
HEIGHT = 88
"""Pixels of the waveform; the units' numbers stand in a strip below it."""
STRIP = 18
LABEL = 8
"""Pixels that a digit of a unit's number needs."""
GOLDEN = 137.508
"""Degrees between the hues of neighbouring units, so that close numbers look different."""
RAMP = ((0, 0, 4), (62, 15, 114), (148, 43, 128), (222, 73, 104), (254, 159, 109), (252, 253, 191))
"""Colours of a spectrogram from silent to loud."""


@dataclass
class Attachments:
    """Sounds and pictures of a page: inside it while they are few, beside it when they grow large."""

    folder: Path  # where files beside the page go
    limit: int = 8_000_000  # bytes that the page may carry inside
    held: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # by name: media type, content

    def add(self, name: str, media: str, content: bytes) -> str:
        """Take something in; the returned mark stands for its address until `resolve`."""
        self.held[name] = (media, content)
        return f"\0{name}\0"

    def resolve(self, page: str) -> str:
        """The page with every mark replaced by an address; writes files when there is too much."""
        inside = sum(len(content) for _, content in self.held.values()) <= self.limit
        parts = page.split("\0")
        return "".join(self._address(part, inside) if i % 2 else part for i, part in enumerate(parts))

    def _address(self, name: str, inside: bool) -> str:
        media, content = self.held[name]
        if inside:
            return f"data:{media};base64,{base64.b64encode(content).decode()}"
        path = self.folder / name
        if not path.exists() or path.read_bytes() != content:
            with atomic(path) as temporary:
                temporary.write_bytes(content)
        return f"{self.folder.name}/{name}"


def player(wave: Tensor, name: str, label: str, attachments: Attachments) -> str:
    """An audio element with the id ``name``."""
    address = attachments.add(f"{name}.mp3", "audio/mpeg", compressed(wave))
    return f'<audio id="{name}" controls preload="none" aria-label="{escape(label)}" src="{address}"></audio>'


def spectrogram(wave: Tensor, name: str, attachments: Attachments, *, scale: bool = False) -> str:
    """A picture of the sound over which the play position moves; ``scale`` gives it the fixed time scale."""
    address = attachments.add(f"{name}.png", "image/png", _png(spectrogram_levels(wave)))
    style = f' style="width:{_width(wave)}px"' if scale else ""
    image = f'<img src="{address}" alt="spectrogram" loading="lazy">'
    return f'<div class="plot" data-for="{name}"{style}>{image}</div>'


def timeline(wave: Tensor, units: Sequence[Run], frame_rate: float, name: str) -> str:
    """The waveform with each run of one unit in that unit's colour, and its number below.

    Args:
        wave: (1, L) at 16 kHz.
        units: the runs of the recording's codes; the first codebook decides number and colour.
        frame_rate: frames of codes a second.
        name: id of the player that belongs to it.
    """
    width, tall = _width(wave), HEIGHT + STRIP
    boxes = [_box(run, frame_rate) for run in units]
    low, high = outline(wave, columns=width // 2)
    middle, step = HEIGHT / 2, width / max(len(low), 1)
    top = [f"{i * step:.1f},{middle - 0.9 * middle * v:.1f}" for i, v in enumerate(high.tolist())]
    bottom = [f"{i * step:.1f},{middle - 0.9 * middle * v:.1f}" for i, v in enumerate(low.tolist())]
    shape = " ".join(top + bottom[::-1])
    return (
        f'<div class="plot" data-for="{name}" style="width:{width}px">'
        f'<svg width="{width}" height="{tall}" role="img" aria-label="{len(units)} units over the waveform">'
        f'{"".join(boxes)}<polygon class="wave" points="{shape}"/></svg></div>'
    )


def _box(run: Run, frame_rate: float) -> str:
    start, end = run.start / frame_rate, run.end / frame_rate
    x, width = start * PIXELS_PER_SECOND, (end - start) * PIXELS_PER_SECOND
    number = str(run.unit[0])
    text = ""
    if width >= LABEL * len(number):
        text = f'<text x="{x + width / 2:.1f}" y="{HEIGHT + STRIP - 5}">{number}</text>'
    title = f"unit {' '.join(map(str, run.unit))}, {start:.2f} to {end:.2f} s"
    hue = round(run.unit[0] * GOLDEN % 360)
    return (
        f'<g style="--hue:{hue}"><title>{title}</title>'
        f'<rect x="{x:.1f}" width="{width:.1f}" height="{HEIGHT + STRIP}"/>{text}</g>'
    )


def _width(wave: Tensor) -> int:
    return max(1, round(wave.shape[-1] / 16_000 * PIXELS_PER_SECOND))


def _png(levels: Tensor) -> bytes:
    """Levels (rows, columns) uint8 as a PNG of 64 colours."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pillow", "score", "the report page") from error
    rows, columns = levels.shape
    image = Image.frombytes("P", (columns, rows), (levels // 4).contiguous().numpy().tobytes())
    image.putpalette([channel for i in range(64) for channel in _colour(i / 63)])
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _colour(level: float) -> tuple[int, ...]:
    place = level * (len(RAMP) - 1)
    i = min(int(place), len(RAMP) - 2)
    return tuple(round(a + (b - a) * (place - i)) for a, b in zip(RAMP[i], RAMP[i + 1], strict=True))
