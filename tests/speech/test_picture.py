"""What a page carries of a recording."""

import io

import pytest
import soundfile
import torch

from speechvq.errors import BadAudio
from speechvq.speech.picture import compressed, outline, spectrogram_levels


def test_compressed_sound_is_small_and_sounds_alike():
    time = torch.arange(32_000) / 16_000
    wave = 0.5 * torch.sin(2 * torch.pi * 440 * time)[None]
    content = compressed(wave)
    assert len(content) < 32_000
    back, rate = soundfile.read(io.BytesIO(content))
    assert rate == 16_000
    assert abs(len(back) - 32_000) < 3000
    spectrum = torch.fft.rfft(torch.from_numpy(back[4000:20_000])).abs()
    assert int(spectrum.argmax()) == 440


def test_what_cannot_be_compressed_is_refused():
    with pytest.raises(BadAudio):
        compressed(torch.zeros(1, 0))
    with pytest.raises(BadAudio):
        compressed(torch.full((1, 100), float("nan")))


def test_levels_put_low_frequencies_last():
    time = torch.arange(16_000) / 16_000
    levels = spectrogram_levels(0.5 * torch.sin(2 * torch.pi * 200 * time)[None])
    assert levels.shape == (80, 100)
    assert levels.dtype == torch.uint8
    assert int(levels.float().mean(1).argmax()) > 70
    assert spectrogram_levels(torch.zeros(1, 10)).shape == (80, 1)


def test_outline_is_the_extremes_of_each_part():
    wave = torch.randn(1, 1003)
    ends = outline(wave, columns=100)
    assert ends.shape == (2, 100)
    assert float(ends.abs().max()) == pytest.approx(1.0)
    first = wave[0, :11] / wave.abs().max()
    assert ends[:, 0].tolist() == pytest.approx([float(first.min()), float(first.max())])
    assert outline(torch.zeros(1, 3), columns=100).shape == (2, 3)
