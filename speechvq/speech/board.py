"""What to hear and see of a codec in training: pairs, their spectrograms, and one sentence in every voice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechvq.codec import Batch, Codec, Codes
from speechvq.speech.picture import spectrogram_levels

SLOW = ("gru", "wavenet")
"""Decoders that draw one sample after the other."""


@dataclass(frozen=True)
class Medium:
    """Something to show.

    Attributes:
        tag: its name; what belongs together shares the part before the slash.
        kind: "audio", "image" or "text".
        array: (n,) float32 in [-1, 1], (H, W) uint8, or a string.
        rate: samples per second of a sound.
    """

    tag: str
    kind: str
    array: np.ndarray | str
    rate: int = 16_000


@torch.no_grad()
def media(codec: Codec, batch: Batch, *, pairs: int = 4, voices: int = 12) -> list[Medium]:
    """Recordings with what the codec makes of them in their own voice, and the first in every voice.

    Args:
        codec: with speakers; it is left in the mode it is in.
        batch: held-out recordings, always the same ones; "speaker" must be in its condition.
        pairs: recordings to show, at most.
        voices: voices to convert the first recording into, at most.
    """
    rate = int(codec.rate)
    count = min(pairs, len(batch.signal))
    mask = None if batch.mask is None else batch.mask[:count]
    codes = codec.encode(batch.signal[:count], mask)
    made = codec.decode(codes, speaker=batch.condition["speaker"][:count])
    shown = []
    for i in range(count):
        own = batch.signal[i] if batch.mask is None else batch.signal[i][:, batch.mask[i]]
        length = min(own.shape[-1], made.shape[-1])
        shown += list(_heard(f"pair-{i}/recording", own[..., :length], rate))
        shown += list(_heard(f"pair-{i}/codec", made[i][..., :length], rate))
    shown.append(Medium("codes/pair-0", "text", _words(codes.indices[0])))
    rows = torch.arange(min(voices, len(codec.decoder.speakers)), device=made.device)
    first = None if codes.mask is None else codes.mask[:1].expand(len(rows), -1)
    same = Codes(codes.indices[:1].expand(len(rows), *codes.indices.shape[1:]), first)
    for row, wave in zip(rows.tolist(), codec.decode(same, speaker=rows), strict=True):
        shown.append(_sound(f"voices/{codec.decoder.speakers[row]}", wave, rate))
    return shown


def made_up(
    codec: Codec, codes: Codes, condition: Mapping[str, Tensor], *, name: str = "made-up"
) -> list[Medium]:
    """Codes (B, K, T) that a prior made up, spoken by the voices in the condition's "speaker" (B,).

    Of a decoder that draws sample by sample, and so takes longer than what it says, only the first.
    """
    count = 1 if codec.decoder.spec["name"] in SLOW else len(codes.indices)
    mask = None if codes.mask is None else codes.mask[:count]
    waves = codec.decode(Codes(codes.indices[:count], mask), speaker=condition["speaker"][:count])
    shown = [Medium(f"codes/{name}-0", "text", _words(codes.indices[0]))]
    for i, wave in enumerate(waves):
        shown += list(_heard(f"{name}/{i}", wave, int(codec.rate)))
    return shown


def _heard(tag: str, wave: Tensor, rate: int) -> Iterator[Medium]:
    yield _sound(tag, wave, rate)
    yield Medium(f"{tag}-mel", "image", spectrogram_levels(wave, rate).numpy())


def _sound(tag: str, wave: Tensor, rate: int) -> Medium:
    return Medium(tag, "audio", wave.detach().float().cpu().reshape(-1).clamp(-1, 1).numpy(), rate)


def _words(indices: Tensor) -> str:
    """(K, T) codes as lines of numbers, one line a codebook."""
    return "\n\n".join(" ".join(str(i) for i in row.tolist() if i >= 0) for row in indices)
