"""Log-mel against librosa, framing by impulses, pitch on sounds whose pitch is known."""

import librosa
import numpy as np
import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.speech.features import FLOOR, MFCC, LogMel, flat_level, pitch


def test_log_mel_is_librosas():
    wave = torch.randn(1, 1, 16000) * 0.1
    mel = LogMel()
    padded = np.pad(wave[0, 0].numpy(), (1024 - 160) // 2)
    theirs = librosa.feature.melspectrogram(
        y=padded, sr=16000, n_fft=1024, hop_length=160, win_length=400, center=False, power=1.0, n_mels=80
    )
    torch.testing.assert_close(
        mel(wave)[0], torch.from_numpy(np.log(np.maximum(theirs, FLOOR))).float(), rtol=1e-3, atol=1e-3
    )


def test_frame_i_is_centred_on_its_hop():
    for i in (3, 50):
        wave = torch.zeros(1, 1, 16000)
        wave[..., i * 160 + 80] = 1.0
        energy = LogMel()(wave).exp().sum(1)[0]
        assert int(energy.argmax()) == i


@pytest.mark.parametrize("samples", [160, 319, 320, 16001])
def test_frames_are_samples_over_hop(samples):
    wave = torch.randn(2, 1, samples)
    assert LogMel()(wave).shape == (2, 80, samples // 160)
    assert MFCC()(wave).shape == (2, 39, samples // 160)


def test_white_noise_stands_at_the_flat_level():
    mel = LogMel()
    mean = mel(torch.randn(1, 1, 160_000)).exp().mean((0, 2)).log()
    assert (mean[5:] - flat_level(mel)).abs().median() < 0.1


@pytest.mark.parametrize("tracker", ["praat", "pyin"])
def test_pitch_of_a_buzz(tracker):
    time = torch.arange(16000) / 16000
    wave = sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 20)) * 0.1
    wave[8000:] = torch.randn(8000) * 0.01
    track = pitch(wave[None], tracker=tracker)
    assert track.shape == (100,)
    assert (track[8:42] - 150).abs().max() < 3
    assert (track[58:92] == 0).float().mean() > 0.7


def test_pitch_of_nearly_nothing_is_unvoiced():
    assert pitch(torch.zeros(1, 300)).tolist() == [0.0]


def test_unknown_tracker_is_refused():
    with pytest.raises(BadSetting, match="known: praat, pyin"):
        pitch(torch.zeros(1, 16000), tracker="other")
