"""Log-mel in decibels below the loudest frame, as van Niekerk et al. (2020, ZeroSpeech) take it.

Loudest sample to 0.999; pre-emphasis y_t = x_t - 0.97 x_{t-1}; a Hann window of 400 samples every 160,
mirrored at the ends, transformed with 2048 points; 80 Slaney bands of magnitude from 50 to 8000 Hz;
20 log10, not below 80 dB under the loudest value of the recording; / 80, + 1. Frame i is centred on
sample 160 i, so L samples have 1 + L // 160 frames.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from speechvq.errors import BadSetting

RANGE = 80.0
LEAST = 1e-5
HOP, WINDOW, POINTS = 160, 400, 2048


@dataclass(frozen=True)
class Level:
    """What a piece must know of the recording that it is a part of.

    Attributes:
        peak: (B,) largest absolute sample.
        loudest: (B,) largest mel magnitude, before the recording is scaled.
    """

    peak: Tensor
    loudest: Tensor


class DecibelMel(nn.Module):
    """(B, 1, L) to (B, bands, 1 + L // 160), float32 under any autocast; at 16 kHz."""

    filters: Tensor
    window: Tensor
    bands = 80
    hop = HOP

    def __init__(self, *, peak: float | None = 0.999, emphasis: float = 0.97) -> None:
        """Each recording's largest sample is brought to ``peak``; None leaves it as loud as it is."""
        super().__init__()
        if peak is not None and not 0 < peak <= 1:
            raise BadSetting(f"the peak is {peak}; give a number in (0, 1], or null to scale nothing")
        self.peak, self.emphasis = peak, emphasis
        filters = torchaudio.functional.melscale_fbanks(
            POINTS // 2 + 1, 50.0, 8000.0, self.bands, 16_000, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    @staticmethod
    def fits(samples: int) -> bool:
        """Whether there are enough ``samples`` to mirror half a window."""
        return samples > WINDOW // 2

    @staticmethod
    def frames(samples: int) -> int:
        """Frames that ``samples`` have."""
        return 1 + samples // HOP

    def forward(self, wave: Tensor, level: Level | None = None) -> Tensor:
        """Decibels / 80 + 1; ``level`` is that of the whole recording, by default of what is given."""
        with torch.autocast(wave.device.type, enabled=False):
            mel = self.magnitudes(wave)
            level = self._level(wave, mel) if level is None else level
            # Everything before the logarithm is linear, so the scale may be applied behind it all.
            scale = 1.0 if self.peak is None else self.peak / level.peak.clamp(min=1e-12)[:, None, None]
            decibels = 20 * (mel * scale).clamp(min=LEAST).log10()
            top = 20 * (level.loudest[:, None, None] * scale).clamp(min=LEAST).log10()
            return torch.maximum(decibels, top - RANGE) / RANGE + 1

    def level(self, wave: Tensor) -> Level:
        """The `Level` of whole recordings (B, 1, L)."""
        return self._level(wave, self.magnitudes(wave))

    def magnitudes(self, wave: Tensor) -> Tensor:
        """(B, 1, L), L above 200, to mel magnitudes (B, bands, 1 + L // 160), not scaled."""
        x = wave.float().squeeze(1)
        x = torch.cat([x[:, :1], x[:, 1:] - self.emphasis * x[:, :-1]], dim=1)
        # Mirroring half a window is what mirroring half a transform comes to: beyond, the window is zero.
        pieces = F.pad(x[:, None], (WINDOW // 2, WINDOW // 2), mode="reflect")[:, 0].unfold(1, WINDOW, HOP)
        spectrum = torch.fft.rfft(pieces * self.window, POINTS).abs()
        return (spectrum @ self.filters).transpose(1, 2)

    def padded(self, signal: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of recordings of different lengths, each as if it were alone, and how many each has.

        Args:
            signal: (B, 1, L).
            mask: (B, L), True where valid: a beginning of each row.

        Returns:
            (B, bands, 1 + L // 160), zero beyond each row's own frames, and (B,) their number; a row
            too short for the window has none.
        """
        whole = self.frames(signal.shape[-1])
        rows, counts = [], []
        for wave, samples in zip(signal, mask.sum(1).tolist(), strict=True):
            if self.fits(samples):
                made = self(wave[None, :, :samples])[0]
            else:
                made = self.filters.new_zeros(self.bands, 0)
            counts.append(made.shape[1])
            rows.append(F.pad(made, (0, whole - made.shape[1])))
        return torch.stack(rows), torch.tensor(counts, device=signal.device)

    def _level(self, wave: Tensor, mel: Tensor) -> Level:
        return Level(wave.float().abs().amax((1, 2)), mel.amax((1, 2)))
