"""A waveform from frames: pulses and noise through minimum-phase filters, by an inverse FFT.

The source-filter model with a harmonic and a noise branch (Serra and Smith 1990; as a differentiable
synthesiser: Engel et al., "DDSP", 2020), so that a decoder learns magnitudes and pitch and never has to
learn phase. Every step can be carried over a cut, so a recording made in pieces has no seam.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.speech.features import LogMel, flat_level


@dataclass(frozen=True)
class Frames:
    """What the synthesiser needs of each frame.

    Attributes:
        pitch: (B, T) Hz, positive everywhere.
        harmonic: (B, bands, T) log-mel envelope of the periodic part.
        noise: (B, bands, T) log-mel envelope of the aperiodic part.
    """

    pitch: Tensor
    harmonic: Tensor
    noise: Tensor

    def cut(self, start: int, stop: int | None = None) -> "Frames":
        """The frames from ``start`` to before ``stop``."""
        return Frames(self.pitch[:, start:stop], self.harmonic[..., start:stop], self.noise[..., start:stop])

    def then(self, later: "Frames") -> "Frames":
        """These frames followed by ``later`` ones."""
        return Frames(
            torch.cat([self.pitch, later.pitch], 1),
            torch.cat([self.harmonic, later.harmonic], 2),
            torch.cat([self.noise, later.noise], 2),
        )


class SourceFilter(nn.Module):
    """Frames to waveform."""

    spread: Tensor
    window: Tensor
    fold: Tensor

    def __init__(self, mel: LogMel) -> None:
        """Envelopes are on the bands of ``mel``, frames every ``mel.hop`` samples."""
        super().__init__()
        self.sample_rate, self.hop, self.n_fft = mel.sample_rate, mel.hop, mel.n_fft
        self.level = flat_level(mel)
        self.register_buffer("spread", _interpolation(mel), persistent=False)
        self.register_buffer("window", torch.hann_window(2 * self.hop), persistent=False)
        fold = torch.zeros(self.n_fft)
        fold[0] = fold[self.n_fft // 2] = 1.0
        fold[1 : self.n_fft // 2] = 2.0
        self.register_buffer("fold", fold, persistent=False)

    def forward(self, frames: Frames, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, T) frames to (B, 1, T * hop), float32 whatever the autocast."""
        with torch.autocast(frames.pitch.device.type, enabled=False):
            pitch = F.pad(frames.pitch.float()[:, None], (1, 1), mode="replicate")[:, 0]
            pulses, _ = self.pulses(pitch)
            noise = self.noise(pulses.shape, pulses.device, generator)
            half = self.hop // 2
            source = F.pad(torch.stack([pulses, noise], 1), (half, half))
            return self.filtered(frames, source)[..., half : half + pulses.shape[1]]

    def pulses(self, pitch: Tensor, phase: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Band-limited pulse train of unit power, every harmonic below the Nyquist frequency.

        Args:
            pitch: (B, T + 2) Hz, with one frame more on either side.
            phase: (B,) cycles at the start, float64.

        Returns:
            (B, T * hop) samples and (B,) the phase at their end.
        """
        hz = F.interpolate(pitch[:, None], scale_factor=self.hop, mode="linear")[:, 0, self.hop : -self.hop]
        cycles = (hz.double() / self.sample_rate).cumsum(1)
        if phase is not None:
            cycles = cycles + phase[:, None]
        angle = (math.tau * cycles.frac()).float()
        count = torch.floor(self.sample_rate / 2 / hz)
        # The sum of cosines 1..M in closed form; its limit where the pulse stands is M itself.
        low = torch.sin(angle / 2)
        near = low.abs() < 1e-4
        ratio = torch.sin((count + 0.5) * angle) / torch.where(near, torch.ones_like(low), low)
        total = torch.where(near, count, (ratio - 1) / 2)
        return total * (2 / count).sqrt(), cycles[:, -1].frac()

    def noise(self, shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """White noise of unit variance.

        Seeded noise is drawn sample by sample on the CPU from the uniform generator, whose stream does not
        depend on how many are asked for at once.
        """
        draw = torch.rand(shape, generator=generator, device="cpu" if generator else device).to(device)
        return (draw - 0.5) * math.sqrt(12)

    def filtered(self, frames: Frames, source: Tensor) -> Tensor:
        """Each half-overlapping frame of the sources through its filters, overlap-added.

        Args:
            frames: T frames.
            source: (B, 2, (T + 1) * hop) pulses and noise, starting half a hop before the first frame.

        Returns:
            (B, 1, (T + 1) * hop + n_fft - 2 * hop), from the same start, tail included.
        """
        T = frames.pitch.shape[1]  # noqa: N806
        pieces = source.unfold(2, 2 * self.hop, self.hop)[:, :, :T] * self.window
        spectra = torch.fft.rfft(pieces, self.n_fft)
        filters = torch.stack([self.response(frames.harmonic), self.response(frames.noise)], 1)
        made = torch.fft.irfft((spectra * filters).sum(1), self.n_fft)
        length = (T - 1) * self.hop + self.n_fft
        return F.fold(made.transpose(1, 2), (1, length), (1, self.n_fft), stride=(1, self.hop))[:, :, 0]

    def response(self, envelope: Tensor) -> Tensor:
        """Minimum-phase frequency response (B, T, n_fft / 2 + 1) of log-mel envelopes (B, bands, T)."""
        log_gain = torch.einsum("bmt,mf->btf", envelope.float() - self.level, self.spread)
        cepstrum = torch.fft.irfft(log_gain.clamp(max=6.0), self.n_fft)
        return torch.fft.rfft(cepstrum * self.fold).exp()


def _interpolation(mel: LogMel) -> Tensor:
    """(bands, n_fft / 2 + 1) weights that draw a straight line between the centres of the bands."""
    bins = torch.arange(mel.n_fft // 2 + 1, dtype=torch.float64)
    filters = mel.filters.double()
    centres = (filters * bins[:, None]).sum(0) / filters.sum(0)
    right = torch.searchsorted(centres, bins).clamp(1, mel.bands - 1)
    share = ((bins - centres[right - 1]) / (centres[right] - centres[right - 1])).clamp(0, 1)
    weights = torch.zeros(mel.bands, len(bins), dtype=torch.float64)
    weights[right - 1, torch.arange(len(bins))] = 1 - share
    weights[right, torch.arange(len(bins))] += share
    return weights.float()
