"""The frames of examples: what an item is in codes or vectors.

Frame i stands for the time (i + 1/2) / rate, and an example has every frame from its onset to its offset,
both included, as in ABXpy and fastabx. The code of libri-light takes the last of them away.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.score.items import Item
from speechvq.score.streams import Stream

log = logging.getLogger(__name__)
REPRESENTATIONS = ("quantized", "one-hot", "latents", "units")
Representation = Literal["quantized", "one-hot", "latents", "units"]


@dataclass(frozen=True)
class Frames:
    """The frames of every recording, to be compared.

    Attributes:
        by_file: name of a recording to its frames (T, D); integer codes (T, K) for one-hot and units.
        rate: frames per second.
        name: of the representation.
    """

    by_file: Mapping[str, np.ndarray]
    rate: float
    name: str = "features"
    one_hot: bool = field(default=False, kw_only=True)  # the codes stand for their one-hot vectors


def stream_frames(streams: Sequence[Stream], representation: Representation = "quantized") -> Frames:
    """What `abx` compares of the streams.

    Raises:
        BadSetting: no streams, several rates, a name twice, or vectors that the streams do not have.
    """
    if representation not in REPRESENTATIONS:
        raise BadSetting(f"ABX compares {', '.join(REPRESENTATIONS)}, not {representation!r}")
    rates = {stream.frame_rate for stream in streams}
    if len(rates) != 1:
        raise BadSetting(f"ABX needs streams of one frame rate, not of {sorted(rates) or 'none'}")
    if len({stream.name for stream in streams}) < len(streams):
        raise BadSetting("two of the streams have the same name; ABX could not tell them apart")
    frames = {}
    for stream in streams:
        if representation == "units":
            frames[stream.name] = stream.units[:, None]
            continue
        found = stream.codes if representation == "one-hot" else getattr(stream, representation)
        if found is None:
            raise BadSetting(
                f"{stream.name} has no {representation}; encode_streams(vectors=True) keeps them"
            )
        frames[stream.name] = found
    return Frames(frames, rates.pop(), representation, one_hot=representation == "one-hot")


def frame_span(onset: float, offset: float, rate: float, *, librilight_bug: bool = False) -> tuple[int, int]:
    """The first frame of an example and the one after its last: all with onset <= (i + 1/2) / rate <= offset.

    Calculated in decimal fractions, as the times are written: 0.29 s at 50 Hz is exactly a centre.
    """
    half, per_second = Decimal("0.5"), Decimal(repr(float(rate)))
    first, last = (Decimal(repr(float(time))) * per_second - half for time in (onset, offset))
    return math.ceil(first), math.floor(last) + (0 if librilight_bug else 1)


def gather(
    frames: Frames, items: Sequence[Item], bug: bool
) -> tuple[list[Item], list[tuple[int, int]], Tensor]:
    """The items that can be used, where their frames are, and all frames (N, D) of their files."""
    files = sorted({item.file for item in items})
    missing = [file for file in files if file not in frames.by_file]
    if missing or not files:
        what = f"{len(missing)} of {len(files)} files of the items have" if missing else "no items: there are"
        raise BadSetting(f"{what} no {frames.name} to compare (first: {missing[0] if missing else 'none'})")
    starts, total = {}, 0
    for file in files:
        starts[file], total = total, total + len(frames.by_file[file])
    kept, spans = [], []
    for item in items:
        first, end = frame_span(item.onset, item.offset, frames.rate, librilight_bug=bug)
        if 0 <= first < end <= len(frames.by_file[item.file]):
            kept.append(item)
            spans.append((starts[item.file] + first, starts[item.file] + end))
    if len(kept) < len(items):
        lost = len(items) - len(kept)
        log.warning("ABX: %d of %d items have no frame or go on beyond the last one", lost, len(items))
    if not kept:
        raise BadSetting(f"not one of {len(items)} items has a frame of {frames.name} at {frames.rate:g} Hz")
    joined = np.concatenate([frames.by_file[file] for file in files])
    data = torch.from_numpy(joined.astype(np.int64 if joined.dtype.kind in "iu" else np.float32))
    if not torch.isfinite(data).all():
        raise BadSetting(f"the {frames.name} to compare are not all finite numbers")
    return kept, spans, data
