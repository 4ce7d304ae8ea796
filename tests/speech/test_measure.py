"""Distances between recordings: known constants, invariances, and a slow twin of the warping."""

import math

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.speech.measure import DECIBELS, align, log_f0_correlation, mel_cepstra, mel_cepstral_distortion

RATE = 16_000


def buzz(f0: torch.Tensor) -> torch.Tensor:
    """Harmonics under 4 kHz of a pitch track in Hz, one value a sample."""
    phase = 2 * math.pi * torch.cumsum(f0.double(), 0) / RATE
    wave = torch.stack([torch.sin(phase * k) / k for k in range(1, 12)]).sum(0)
    return (0.2 * wave).float()[None]


def glide(low: float, high: float, seconds: float = 1.2) -> torch.Tensor:
    return low * (high / low) ** torch.linspace(0, 1, int(seconds * RATE))


def test_the_constant_of_the_distortion():
    assert DECIBELS * math.sqrt(2) == pytest.approx(6.141851, abs=1e-6)


def test_a_recording_is_at_no_distance_from_itself_at_any_level():
    wave = buzz(glide(120, 180))
    assert mel_cepstral_distortion(wave, wave) == pytest.approx(0, abs=1e-4)
    assert mel_cepstral_distortion(wave, 0.3 * wave) == pytest.approx(0, abs=0.05)
    other = torch.nn.functional.conv1d(wave[None], torch.tensor([[[1.0, -0.9]]]))[0]
    assert mel_cepstral_distortion(wave, other) > 1.0


def test_cepstra_differ_by_the_log_spectrum_in_decibels():
    """A tilt of the spectrum is heard by the cepstra as the RMS of its decibels without the mean."""
    wave = 0.1 * torch.randn(1, 4 * RATE)
    tilted = torch.nn.functional.conv1d(wave[None], torch.tensor([[[1.0, -0.5]]]))[0]
    a, b = mel_cepstra(wave, order=79).mean(0), mel_cepstra(tilted, order=79).mean(0)
    found = float(DECIBELS * (2 * (a - b).square().sum()).sqrt())
    hz = torch.linspace(0, 8000, 513)
    mel = torch.where(hz < 1000, hz * 3 / 200, 15 + torch.log(hz.clamp(min=1) / 1000) * 27 / math.log(6.4))
    gain = 20 * torch.log10((1 - 0.5 * torch.exp(-1j * 2 * math.pi * hz / RATE)).abs())
    spaced = torch.linspace(0, float(mel[-1]), 80)
    on_mel = torch.stack([gain[(mel - m).abs().argmin()] for m in spaced])
    assert found == pytest.approx(float((on_mel - on_mel.mean()).square().mean().sqrt()), rel=0.05)


def test_silence_has_no_distortion_and_no_pitch():
    silence, wave = torch.zeros(1, RATE), buzz(glide(120, 180))
    assert mel_cepstral_distortion(silence, wave) is None
    assert log_f0_correlation(silence, wave) is None
    assert len(mel_cepstra(silence)) == 0


def test_pauses_do_not_count():
    wave, pause = buzz(glide(120, 180)), torch.zeros(1, RATE // 2)
    padded = torch.cat([pause, wave, pause], 1)
    assert mel_cepstral_distortion(wave, padded) < 0.6


def test_melody_is_compared_and_not_height():
    up, down = buzz(glide(110, 200)), buzz(glide(200, 110))
    assert log_f0_correlation(up, buzz(glide(165, 300))) > 0.98
    assert log_f0_correlation(up, down) < -0.95


def test_melody_of_another_length_is_found_along_the_warping_path():
    up, slower = buzz(glide(110, 200)), buzz(glide(110, 200, seconds=1.8))
    assert log_f0_correlation(up, slower) > 0.9


def test_alignment_costs_what_the_slow_twin_costs():
    a, b = torch.randn(9, 3), torch.randn(13, 3)
    i, j = align(a, b)
    cost = torch.cdist(a, b).double()
    best = torch.full((10, 14), float("inf"), dtype=torch.float64)
    best[0, 0] = 0
    for x in range(9):
        for y in range(13):
            best[x + 1, y + 1] = cost[x, y] + min(best[x, y], best[x, y + 1], best[x + 1, y])
    assert float(cost[i, j].sum()) == pytest.approx(float(best[9, 13]), rel=1e-6)
    assert (i[0], j[0], i[-1], j[-1]) == (0, 0, 8, 12)
    assert bool((i.diff() >= 0).all() and (j.diff() >= 0).all())


def test_an_impossible_order_is_refused():
    with pytest.raises(BadSetting, match="between 1 and 79"):
        mel_cepstra(torch.zeros(1, RATE), order=80)
