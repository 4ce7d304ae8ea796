"""Distances between two recordings of speech: mel-cepstral distortion and log-F0 correlation.

Mel-cepstral distortion after Kubichek 1993, over a dynamic-time-warping path of the frames that are not
silent. The cepstra are cosine coefficients of the log-mel spectrum (not of a WORLD envelope), scaled so
that the distance is the mean-square difference of the log spectra in decibels.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from speechvq.errors import BadSetting, MissingExtra
from speechvq.speech.features import LogMel, pitch

DECIBELS = 10 / math.log(10)
SILENCE = 40.0
"""Frames more than this many dB below the loudest are silence."""
LEVEL = 0.05
"""Root mean square that the speech in recordings is brought to before they are compared."""
SAME_LENGTH = 0.05
"""Recordings whose lengths differ by less than this share are compared frame by frame."""
FEWEST = 10
"""With fewer frames voiced in both recordings, a correlation says nothing."""


def mel_cepstra(wave: Tensor, sample_rate: int = 16_000, *, order: int = 34) -> Tensor:
    """Mel cepstra 1 .. ``order`` of the frames that are not silent; the energy term is left out.

    Args:
        wave: (1, L) or (L,), in [-1, 1].
        sample_rate: samples per second.
        order: number of coefficients, below 80.

    Returns:
        (frames, order) float32, a frame every 10 ms; (0, order) for silence.
    """
    if not 0 < order < 80:
        raise BadSetting(f"the order of the mel cepstra must be between 1 and 79, not {order}")
    mel = _log_mel(wave, sample_rate)
    return _cepstra(mel, order)[_loud(mel)]


def align(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Dynamic time warping: which frames belong together under Euclidean distance.

    Args:
        first: (N, D) frames.
        second: (M, D) frames.

    Returns:
        Two int64 tensors of one length, rising indices into ``first`` and into ``second``.
    """
    try:
        import librosa
    except ImportError as error:
        raise MissingExtra("librosa", "score", "aligning two recordings") from error
    cost = torch.cdist(first.double(), second.double()).numpy()
    path = librosa.sequence.dtw(C=cost)[1][::-1]
    return torch.from_numpy(path[:, 0].copy()), torch.from_numpy(path[:, 1].copy())


def mel_cepstral_distortion(
    reference: Tensor, other: Tensor, sample_rate: int = 16_000, *, order: int = 34
) -> float | None:
    """Mel-cepstral distortion in dB between two recordings of the same words; 0 for equal sounds.

    (10 / ln 10) sqrt(2 sum_d (c_d - c'_d)^2), the mean over the warping path.

    Args:
        reference: (1, L) or (L,), in [-1, 1].
        other: the same, of any length.
        sample_rate: samples per second of both.
        order: number of cepstra.

    Returns:
        The distortion, or None when one of the two is silent.
    """
    a, b = (mel_cepstra(wave, sample_rate, order=order) for wave in (reference, other))
    if not len(a) or not len(b):
        return None
    i, j = align(a, b)
    return float(DECIBELS * (2 * (a[i] - b[j]).square().sum(1)).sqrt().mean())


def log_f0_correlation(first: Tensor, second: Tensor, sample_rate: int = 16_000) -> float | None:
    """Pearson correlation of log-F0 over the frames that are voiced in both recordings, in [-1, 1].

    Recordings of (almost) one length are compared at equal times, others along a warping path. A voice
    that only speaks higher or lower keeps 1: it is the melody that is compared.

    Args:
        first: (1, L) or (L,), in [-1, 1].
        second: the same.
        sample_rate: samples per second of both.

    Returns:
        The correlation, or None when fewer than `FEWEST` frames are voiced in both.
    """
    waves = [wave.reshape(1, -1) for wave in (first, second)]
    lengths = [wave.shape[1] for wave in waves]
    f0 = [pitch(wave, sample_rate) for wave in waves]
    if min(lengths) < (1 - SAME_LENGTH) * max(lengths):
        i, j = align(*(_cepstra(_log_mel(wave, sample_rate), 34) for wave in waves))
        a, b = f0[0][i.clamp(max=len(f0[0]) - 1)], f0[1][j.clamp(max=len(f0[1]) - 1)]
    else:
        frames = min(len(track) for track in f0)
        a, b = f0[0][:frames], f0[1][:frames]
    voiced = (a > 0) & (b > 0)
    if int(voiced.sum()) < FEWEST:
        return None
    a, b = a[voiced].double().log(), b[voiced].double().log()
    if a.std() < 1e-6 or b.std() < 1e-6:
        return None
    return float(np.corrcoef(a.numpy(), b.numpy())[0, 1])


def _log_mel(wave: Tensor, sample_rate: int) -> Tensor:
    """(frames, bands), with what is not silent brought to one level, so that pauses do not change it."""
    wave = wave.detach().float().cpu().reshape(1, 1, -1)
    hop = sample_rate // 100
    power = F.avg_pool1d(F.pad(wave.square(), (0, -wave.shape[-1] % hop)), hop).flatten()
    spoken = power[power > power.max() * 10 ** (-SILENCE / 10)]
    level = spoken.mean().sqrt().clamp(min=1e-6) if len(spoken) else wave.new_tensor(1.0)
    return LogMel(sample_rate, hop=hop)(wave * LEVEL / level)[0].T


def _loud(mel: Tensor) -> Tensor:
    energy = DECIBELS * torch.logsumexp(2 * mel, 1)
    return (energy > energy.max() - SILENCE) & (mel.amax(1) > mel.new_tensor(1e-4).log() + 1)


def _cepstra(mel: Tensor, order: int) -> Tensor:
    bands = mel.shape[1]
    basis = torchaudio.functional.create_dct(order + 1, bands, "ortho")[:, 1:]
    return mel @ basis * math.sqrt(2 / bands)
