"""A recording as a page can carry it: compressed sound, a spectrogram's levels, the wave's outline."""

import io

import numpy as np
import soundfile
import torch
from torch import Tensor

from speechvq.errors import BadAudio
from speechvq.speech.features import LogMel


def compressed(wave: Tensor, sample_rate: int = 16_000) -> bytes:
    """The sound as an MP3 file in memory, which every browser plays.

    Args:
        wave: (1, L) or (L,), in [-1, 1]; what lies outside is clipped.
        sample_rate: samples per second; 8, 11.025, 12, 16, 22.05, 24, 32, 44.1 or 48 kHz.
    """
    samples = wave.detach().float().cpu().reshape(-1).clamp(-1, 1).numpy()
    if not len(samples) or not np.isfinite(samples).all():
        raise BadAudio("a recording for the page", "is empty or holds values that are not numbers")
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


def spectrogram_levels(wave: Tensor, sample_rate: int = 16_000, *, span: float = 70.0) -> Tensor:
    """Log-mel spectrogram as grey levels.

    Args:
        wave: (1, L) or (L,), in [-1, 1].
        sample_rate: samples per second.
        span: decibels between black (0) and the loudest point (255).

    Returns:
        (bands, frames) uint8, low frequencies in the last row, a frame every 10 ms,
        at least one.
    """
    wave = wave.detach().float().cpu().reshape(1, 1, -1)
    hop = sample_rate // 100
    wave = torch.nn.functional.pad(wave, (0, max(0, hop - wave.shape[-1])))
    mel = LogMel(sample_rate, hop=hop)(wave)[0]
    decibels = 20 / np.log(10) * mel
    levels = (decibels - decibels.max() + span) / span
    return (levels.clamp(0, 1) * 255).to(torch.uint8).flip(0)


def outline(wave: Tensor, columns: int = 400) -> Tensor:
    """The lowest and highest sample in each of ``columns`` equal parts, scaled to a peak of 1.

    Args:
        wave: (1, L) or (L,).
        columns: number of parts; fewer when there are fewer samples.

    Returns:
        (2, columns) float32.
    """
    samples = wave.detach().float().cpu().reshape(-1)
    parts = torch.tensor_split(samples, min(columns, max(len(samples), 1)))
    ends = torch.tensor([[p.min() for p in parts], [p.max() for p in parts]])
    return ends / ends.abs().max().clamp(min=1e-6)
