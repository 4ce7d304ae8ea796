"""What may be done to a recording before it is stored: resample, high-pass, trim, normalise; in that order.

Trimming does not cut the file: it moves the entry's start and duration, so phone times stay right.
"""

from dataclasses import asdict, dataclass
from typing import Any

import librosa
import torch
import torchaudio.functional as AF
from torch import Tensor

from speechvq.errors import BadSetting

LOUDNESS_BLOCK = 0.4  # seconds; ITU-R BS.1770 measures in blocks of this length
CEILING = 0.999  # a loudness gain stops here rather than clip


@dataclass(frozen=True)
class Processing:
    """How the copies are made; the defaults only resample."""

    sample_rate: int = 16000  # Hz of the copies
    highpass: float = 0.0  # Hz below which is removed (70 takes DC and rumble); 0 = off
    normalise: str = "none"  # none | peak (largest sample at ``peak``) | loudness (``loudness`` LUFS)
    peak: float = 0.95  # for normalise=peak, in (0, 1]
    loudness: float = -23.0  # for normalise=loudness, LUFS (ITU-R BS.1770), below 0
    trim: float | None = None  # dB under the peak from where the ends count as silence (20 to 60)

    def __post_init__(self) -> None:
        if self.normalise not in ("none", "peak", "loudness"):
            raise BadSetting(f"normalise must be none, peak or loudness, not {self.normalise!r}")
        if not 0 < self.peak <= 1 or self.loudness >= 0:
            raise BadSetting(f"peak {self.peak} must be in (0, 1] and loudness {self.loudness} LUFS below 0")
        if self.sample_rate < 4000:
            raise BadSetting(f"sample_rate {self.sample_rate} must be at least 4000 Hz")
        if not 0 <= self.highpass < self.sample_rate / 2:
            raise BadSetting(f"highpass {self.highpass} must be at least 0 and below half the sample rate")
        if self.trim is not None and self.trim <= 0:
            raise BadSetting(f"trim {self.trim} must be a number of dB above 0")

    @property
    def record(self) -> dict[str, Any]:
        """The steps that were taken, for the manifest."""
        steps = {k: v for k, v in asdict(self).items() if k in ("sample_rate", "highpass", "trim") and v}
        if self.normalise != "none":
            steps["normalise"] = self.normalise
            steps[self.normalise] = getattr(self, self.normalise)
        return steps


@dataclass(frozen=True)
class Processed:
    """A processed recording and its part that is not silence.

    Attributes:
        wave: (1, L) at the settings' rate.
        start: seconds of silence before.
        duration: seconds from there to the silence after.
    """

    wave: Tensor
    start: float
    duration: float


def process(wave: Tensor, settings: Processing) -> Processed:
    """Apply the steps to ``(1, L)`` samples that are already at ``settings.sample_rate``."""
    rate = settings.sample_rate
    if settings.highpass:  # the mean first: a filter that meets an offset at its first sample clicks
        wave = AF.highpass_biquad(wave - wave.mean(), rate, settings.highpass)
    first, last = 0, wave.shape[-1]
    if settings.trim is not None:
        first, last = librosa.effects.trim(wave[0].numpy(), top_db=settings.trim)[1].tolist()
    loud = wave[:, first:last]
    if settings.normalise == "peak":
        wave = wave * (settings.peak / loud.abs().max().clamp_min(1e-8))
    elif settings.normalise == "loudness":
        wave = wave * _gain(loud, settings)
    return Processed(wave, first / rate, (last - first) / rate)


def _gain(loud: Tensor, settings: Processing) -> Tensor:
    """To the wanted loudness; what is shorter than a measuring block is repeated to fill one."""
    shortest = round(LOUDNESS_BLOCK * settings.sample_rate) + 1
    times = -(-shortest // loud.shape[-1])
    measured = AF.loudness(loud.repeat(1, times), settings.sample_rate)
    gain = 10 ** ((settings.loudness - measured) / 20)
    gain = torch.where(torch.isfinite(gain), gain, torch.ones_like(gain))  # all below the gate of -70 LUFS
    return torch.minimum(gain, CEILING / loud.abs().max().clamp_min(1e-8))
