"""A waveform from frames: pulses and noise through minimum-phase filters, by an inverse FFT.

The source-filter model with a harmonic and a noise branch (Serra and Smith 1990; as a differentiable
synthesiser: Engel et al., "DDSP", 2020), so that a decoder learns magnitudes and pitch and never has to
learn phase. Every step can be carried over a cut, so a recording made in pieces has no seam.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.speech.features import LogMel, flat_level
from speechvq.speech.pieces import marked


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

    def forward(
        self, frames: Frames, *, phase: Tensor | None = None, start: int = 0, seed: int | None = None
    ) -> Tensor:
        """Frames to a waveform, float32 whatever the autocast.

        Args:
            frames: T of them.
            phase: (B,) cycles of the pulses at the centre of the first frame, float64; zero by default.
            start: place of the first frame in the recording, which decides its part of the seeded noise.
            seed: of the noise; None draws from torch's own generator.

        Returns:
            (B, 1, T * hop) samples.
        """
        with torch.autocast(frames.pitch.device.type, enabled=False):
            pulses = self.pulses(frames.pitch.float(), phase)
            source = torch.stack([pulses, self.noise(pulses, start, seed)], 1)
            half = self.hop // 2
            made = self.filtered(frames, F.pad(source, (half, half)))
            return made[..., half : half + pulses.shape[1]]

    def stream(self, pieces: Iterable[Frames], *, seed: int = 0) -> Iterator[Tensor]:
        """Pieces of one long sequence of frames to pieces (B, 1, n) of its waveform, without a seam.

        A sample hears the filters of six frames before its own and of the next, whose source needs the
        pitch of one more; so seven spoken frames are kept and two are held back.
        """
        held: Frames | None = None
        start = spoken = 0
        phase: Tensor | None = None
        for piece, last in marked(pieces):
            held = piece if held is None else held.then(piece)
            ready = start + held.pitch.shape[1] - (0 if last else 2)
            if ready <= spoken:
                continue
            wave = self(held, phase=phase, start=start, seed=seed)
            yield wave[..., (spoken - start) * self.hop : (ready - start) * self.hop]
            spoken, keep = ready, max(start, ready - 7)
            phase = self.advance(held.pitch[:, : keep - start + 1], phase)
            held, start = held.cut(keep - start), keep

    def advance(self, pitch: Tensor, phase: Tensor | None = None) -> Tensor:
        """Phase (B,) at the centre of the last frame of ``pitch`` (B, T), from that of the first."""
        turns = (pitch[:, 1:].double() + pitch[:, :-1].double()).sum(1) * self.hop / (2 * self.sample_rate)
        return (turns if phase is None else turns + phase).frac()

    def pulses(self, pitch: Tensor, phase: Tensor | None = None) -> Tensor:
        """Band-limited pulse train of unit power with every harmonic below the Nyquist frequency.

        Args:
            pitch: (B, T) Hz at the centres of frames, a straight line between.
            phase: (B,) cycles at the centre of the first frame.

        Returns:
            (B, T * hop) samples.
        """
        hz = F.interpolate(pitch[:, None].double(), scale_factor=self.hop, mode="linear")[:, 0]
        cycles = (hz / self.sample_rate).cumsum(1)
        cycles = cycles - cycles[:, self.hop // 2 - 1, None]
        if phase is not None:
            cycles = cycles + phase[:, None]
        angle = (math.tau * (cycles - cycles.floor())).float()
        count = torch.floor(self.sample_rate / 2 / hz).float()
        # The sum of cosines 1..M in closed form; its limit where the pulse stands is M itself.
        low = torch.sin(angle / 2)
        near = low.abs() < 1e-4
        ratio = torch.sin((count + 0.5) * angle) / torch.where(near, torch.ones_like(low), low)
        return torch.where(near, count, (ratio - 1) / 2) * (2 / count).sqrt()

    def noise(self, like: Tensor, start: int, seed: int | None) -> Tensor:
        """White noise of unit variance, (B, T * hop) as ``like``; the same in each row when seeded.

        Seeded noise comes in blocks of a second with a generator each, so that any piece of a recording
        finds its own.
        """
        if seed is None:
            return (torch.rand_like(like) - 0.5) * math.sqrt(12)
        first, last = start * self.hop, start * self.hop + like.shape[1]
        blocks = range(first // self.sample_rate, (last - 1) // self.sample_rate + 1)
        draws = [
            torch.rand(self.sample_rate, generator=torch.Generator().manual_seed(seed * 1_000_003 + block))
            for block in blocks
        ]
        offset = blocks[0] * self.sample_rate
        white = torch.cat(draws)[first - offset : last - offset].to(like)
        return ((white - 0.5) * math.sqrt(12)).expand_as(like)

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
