"""What can be listened to on the unit page: recordings with their tiers, and one unit after the other."""

import random
from collections import defaultdict
from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from speechvq.score.figures import GOLDEN, Attachments, player, spectrogram
from speechvq.score.phone_classes import phone_class
from speechvq.score.phonemes import UnitRow
from speechvq.score.segments import collapse
from speechvq.score.streams import Stream
from speechvq.speech.picture import compressed

RATE = 16_000
GAP = 0.08
"""Seconds of silence between the segments of a montage."""
FADE = 0.003
"""Seconds over which a segment is faded in and out, so that cutting makes no click."""
PIXELS_PER_SECOND = 500
"""Time scale: a unit of 20 ms is 10 pixels wide, enough for a number that stands upright."""
_TALL, _GAP = 30, 2


def recording(stream: Stream, wave: Tensor, name: str, text: str | None, attachments: Attachments) -> str:
    """A recording: player, spectrogram, and tiers of units and phones of which each part can be played.

    Args:
        stream: its codes and phones.
        wave: (1, L) at 16 kHz.
        name: id of the player.
        text: what is said, if known.
        attachments: where sound and picture go.
    """
    width = max(1, round(wave.shape[-1] / RATE * PIXELS_PER_SECOND))
    units = [
        (
            str(run.unit[0]),
            run.start / stream.frame_rate,
            run.end / stream.frame_rate,
            run.unit[0] * GOLDEN % 360,
        )
        for run in collapse(stream)
    ]
    tiers = _tier(units, 0, "unit")
    phones = [(p.label, p.start, p.end, None) for p in stream.phones or ()]
    tiers += _tier(phones, _TALL + _GAP, "phone")
    tall = _TALL * 2 + _GAP if phones else _TALL
    said = f"“{escape(text)}” " if text else ""
    return (
        f'<article><h3>{said}<span class="soft">{escape(stream.name)}</span></h3>'
        f"{player(wave, name, stream.name, attachments)}"
        f'<div class="wide figure" tabindex="0"><div style="width:{width}px">'
        f"{spectrogram(wave, name, attachments)}"
        f'<div class="plot tiers" data-for="{name}" style="width:{width}px">'
        f'<svg width="{width}" height="{tall}" role="img" aria-label="units over phones">'
        f"{tiers}</svg></div></div></div></article>"
    )


def _tier(parts: Sequence[tuple[str, float, float, float | None]], top: int, kind: str) -> str:
    """(label, start, end, hue) as boxes; a phone's colour is that of its class."""
    boxes = []
    for label, start, end, hue in parts:
        x, width = start * PIXELS_PER_SECOND, (end - start) * PIXELS_PER_SECOND
        look = (
            f'class="{kind}" style="--hue:{hue:.0f}"'
            if hue is not None
            else f'class="phone {phone_class(label)}"'
        )
        middle, text = (x + width / 2, top + _TALL / 2), ""
        if width >= 7 * len(label):
            text = f'<text x="{middle[0]:.1f}" y="{middle[1] + 4:.1f}">{escape(label)}</text>'
        elif width >= 9:
            place = f"translate({middle[0] + 3.2:.1f} {middle[1]:.1f}) rotate(-90)"
            text = f'<text class="upright" transform="{place}">{escape(label)}</text>'
        boxes.append(
            f'<g {look} data-from="{start:.4f}" data-to="{end:.4f}"><title>{kind} {escape(label)}, '
            f'{start:.3f} to {end:.3f} s</title><rect x="{x:.1f}" y="{top}" '
            f'width="{width:.1f}" height="{_TALL}"/>{text}</g>'
        )
    return "".join(boxes)


def segments_of(streams: Sequence[Stream]) -> dict[int, list[tuple[int, float, float]]]:
    """Unit to its segments: place of the recording, start and end in seconds."""
    found: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for place, stream in enumerate(streams):
        for run in collapse(stream):
            unit = stream.units[run.start]
            found[int(unit)].append((place, run.start / stream.frame_rate, run.end / stream.frame_rate))
    return found


def montage(
    segments: Sequence[tuple[int, float, float]], waves: Sequence[Tensor], *, most: float = 8.0, seed: int = 0
) -> Tensor:
    """The segments of one unit one after the other, in an order set by ``seed``, with short silences.

    Args:
        segments: place of the recording, start and end in seconds.
        waves: (1, L) at 16 kHz, by place.
        most: seconds; what would go beyond is left out.
        seed: of the order.

    Returns:
        (1, L) float32.
    """
    order, parts, length = random.Random(seed).sample(list(segments), len(segments)), [], 0
    gap = torch.zeros(round(GAP * RATE))
    for place, start, end in order:
        part = waves[place][0, round(start * RATE) : round(end * RATE)].clone()
        if parts and length + len(part) > most * RATE:
            break
        ramp = torch.linspace(0, 1, min(round(FADE * RATE), len(part) // 2))
        if len(ramp):
            part[: len(ramp)] *= ramp
            part[-len(ramp) :] *= ramp.flip(0)
        parts += [part, gap]
        length += len(part) + len(gap)
    return torch.cat(parts or [gap])[None]


def montages(
    streams: Sequence[Stream],
    waves: Sequence[Tensor],
    rows: Sequence[UnitRow],
    attachments: Attachments,
    *,
    most: int = 48,
    seed: int = 0,
) -> str:
    """A player for each of the ``most`` first units of ``rows``, and a button for each."""
    found, made = segments_of(streams), []
    for row in rows[:most]:
        name = f"m{row.unit}"
        address = attachments.add(
            f"{name}.mp3", "audio/mpeg", compressed(montage(found[row.unit], waves, seed=seed))
        )
        best = f" {escape(row.phones[0][0])} {row.phones[0][1]:.0%}" if row.phones else ""
        look = phone_class(row.phones[0][0]) if row.phones else "other"
        made.append(
            f'<div class="chip {look}"><button type="button" data-play="{name}" '
            f'aria-label="play unit {row.unit}">▶</button><span><b>{row.unit}</b>{best}</span>'
            f'<audio id="{name}" preload="none" aria-label="unit {row.unit}" src="{address}"></audio></div>'
        )
    return f'<div class="chips">{"".join(made)}</div>'
