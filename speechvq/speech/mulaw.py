"""Mu-law companding (ITU-T G.711's curve, as WaveNet uses it): waveform to levels and back.

With Q levels and mu = Q - 1, f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu) is rounded to the nearest of Q
steps from -1 to 1. With 256 levels digital silence is level 128; no level decodes to exactly 0.
"""

from torch import Tensor
from torchaudio import functional


def mulaw_encode(wave: Tensor, *, levels: int = 256) -> Tensor:
    """Samples in [-1, 1] (clamped) to int64 levels in [0, levels)."""
    return functional.mu_law_encoding(wave.clamp(-1, 1), levels)


def mulaw_decode(codes: Tensor, *, levels: int = 256) -> Tensor:
    """Levels in [0, levels) to float32 samples in [-1, 1]."""
    # Near silence the curve is a small difference of numbers near 1: taken in double precision.
    return functional.mu_law_decoding(codes.double(), levels).float()
