"""What is measured from a waveform: log-mel and MFCC frames, and pitch.

Framing is aligned: frame i is centred on sample ``hop * i + hop / 2`` and sees zeros beyond the ends, so
that L samples give ``L // hop`` frames and a long recording can be analysed in pieces without a seam.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import torchaudio
from torch import Tensor, nn

from speechvq.errors import BadSetting, MissingExtra

PITCH_HOP = 160
PITCH_RANGE = (60.0, 420.0)
FLOOR = 1e-4


class LogMel(nn.Module):
    """Natural logarithm of a magnitude mel spectrogram (Slaney scale and area norm)."""

    filters: Tensor
    window: Tensor

    def __init__(
        self, sample_rate: int = 16_000, *, hop: int = 160, bands: int = 80, n_fft: int = 1024, win: int = 400
    ) -> None:
        """``win`` samples of a Hann window inside ``n_fft``, every ``hop`` samples."""
        super().__init__()
        self.sample_rate, self.hop, self.bands, self.n_fft, self.win = sample_rate, hop, bands, n_fft, win
        filters = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(win), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(B, 1, L) to (B, bands, L // hop), float32 whatever the autocast."""
        with torch.autocast(wave.device.type, enabled=False):
            side = (self.n_fft - self.hop) // 2
            padded = F.pad(wave.float().squeeze(1), (side, side))
            spectrum = torch.stft(
                padded, self.n_fft, self.hop, self.win, self.window, center=False, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            mel = self.filters.T @ power.clamp(min=FLOOR**2).sqrt()
            return mel.clamp(min=FLOOR).log()


class MFCC(nn.Module):
    """13 mel cepstra with their first and second differences (39 a frame), Chorowski et al. 2019."""

    dct: Tensor

    def __init__(self, sample_rate: int = 16_000, *, hop: int = 160) -> None:
        """A frame every ``hop`` samples."""
        super().__init__()
        self.mel = LogMel(sample_rate, hop=hop)
        self.hop, self.bands = hop, 39
        self.register_buffer("dct", torchaudio.functional.create_dct(13, 80, "ortho"), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(B, 1, L) to (B, 39, L // hop)."""
        cepstra = torch.einsum("bmt,mc->bct", self.mel(wave), self.dct)
        first = torchaudio.functional.compute_deltas(cepstra)
        return torch.cat([cepstra, first, torchaudio.functional.compute_deltas(first)], 1)


def pitch(wave: Tensor, sample_rate: int = 16_000, *, tracker: str = "praat") -> Tensor:
    """Fundamental frequency in Hz of one recording, one value every `PITCH_HOP` samples at 16 kHz.

    Args:
        wave: (1, L) or (L,).
        sample_rate: samples per second.
        tracker: "praat" (autocorrelation, Boersma 1993; fast) or "pyin" (librosa; slow).

    Returns:
        (L // hop,) float32, 0 where unvoiced; hop is 10 ms.
    """
    hop = sample_rate // 100
    samples = wave.reshape(-1).double().numpy()
    frames = len(samples) // hop
    if tracker == "praat":
        return torch.from_numpy(_praat_pitch(samples, sample_rate, frames))
    if tracker == "pyin":
        import librosa

        side = (2048 - hop) // 2
        track, *_ = librosa.pyin(
            np.pad(samples, side), fmin=PITCH_RANGE[0], fmax=PITCH_RANGE[1], sr=sample_rate,
            frame_length=2048, hop_length=hop, center=False, fill_na=0.0,
        )  # fmt: skip
        return F.pad(torch.from_numpy(track[:frames]).float(), (0, frames - len(track[:frames])))
    raise BadSetting(f"there is no pitch tracker {tracker!r}; known: praat, pyin")


def _praat_pitch(samples: np.ndarray, sample_rate: int, frames: int) -> np.ndarray:
    try:
        import parselmouth
    except ImportError as error:
        raise MissingExtra("praat-parselmouth", "score", "the praat pitch tracker") from error
    found = np.zeros(frames, np.float32)
    # Praat needs three periods of the lowest pitch; shorter sounds have none.
    if len(samples) < 3 * sample_rate / PITCH_RANGE[0] + 1:
        return found
    track = parselmouth.Sound(samples, sample_rate).to_pitch_ac(
        time_step=0.01, pitch_floor=PITCH_RANGE[0], pitch_ceiling=PITCH_RANGE[1]
    )
    times, values = track.xs(), track.selected_array["frequency"]
    place = np.rint(times * 100 - 0.5).astype(int)
    inside = (place >= 0) & (place < frames)
    found[place[inside]] = values[inside]
    return found


def flat_level(mel: LogMel) -> float:
    """The log-mel value of white noise of unit variance, the reference level of an envelope."""
    density = math.sqrt(float(mel.window.square().sum())) * math.sqrt(math.pi) / 2
    return math.log(density * float(mel.filters.sum(0).median()))
