"""The synthesiser: closed forms against slow sums, levels, minimum phase, and pieces without a seam."""

import math

import pytest
import torch

from speechvq.speech.features import LogMel, flat_level
from speechvq.speech.source_filter import Frames, SourceFilter


@pytest.fixture
def synthesis():
    return SourceFilter(LogMel())


def _frames(synthesis, T, *, batch=1):  # noqa: N803
    level = synthesis.level
    pitch = 100 + 80 * torch.rand(batch, T)
    return Frames(pitch, level + torch.randn(batch, 80, T), level - 2 + torch.randn(batch, 80, T))


def test_pulses_are_the_sum_of_all_harmonics(synthesis):
    hz = 210.0
    made = synthesis.pulses(torch.full((1, 20), hz))[0]
    place = torch.arange(20 * 160, dtype=torch.float64) - 79
    harmonics = int(8000 / hz)
    slow = sum(torch.cos(2 * math.pi * hz * k * place / 16000) for k in range(1, harmonics + 1))
    torch.testing.assert_close(made, (slow * math.sqrt(2 / harmonics)).float(), rtol=0, atol=2e-3)


def test_sources_have_unit_power(synthesis):
    pulses = synthesis.pulses(torch.full((1, 200), 137.0))
    noise = synthesis.noise(pulses, 0, 3)
    assert abs(float(pulses.square().mean()) - 1) < 0.05
    assert abs(float(noise.square().mean()) - 1) < 0.05


def test_response_is_minimum_phase_with_the_asked_gain(synthesis):
    envelope = synthesis.level + 0.5 * torch.randn(1, 80, 3)
    response = synthesis.response(envelope)
    gain = torch.einsum("bmt,mf->btf", envelope - synthesis.level, synthesis.spread)
    torch.testing.assert_close(response.abs().log(), gain, rtol=1e-3, atol=1e-3)
    # Minimum phase leaves nothing before time zero, which is the second half of the inverse transform.
    impulse = torch.fft.irfft(response, synthesis.n_fft).square()
    assert float(impulse[..., 512:].sum() / impulse.sum()) < 0.01
    zero_phase = torch.fft.irfft(response.abs().to(torch.complex64), synthesis.n_fft).square()
    assert float(zero_phase[..., 512:].sum() / zero_phase.sum()) > 0.05


def test_flat_envelope_of_noise_gives_back_white_noise(synthesis):
    mel = LogMel()
    level = flat_level(mel)
    frames = Frames(
        torch.full((1, 300), 100.0), torch.full((1, 80, 300), level - 12), torch.full((1, 80, 300), level)
    )
    wave = synthesis(frames, seed=0)
    assert abs(float(wave.square().mean()) - 1) < 0.1


@pytest.mark.parametrize("cuts", [[203], [1] * 203, [50, 100, 53], [7, 196], [2, 2, 199]])
def test_pieces_are_the_whole(synthesis, cuts):
    torch.manual_seed(sum(cuts[:1]))
    frames = _frames(synthesis, 203, batch=2)
    whole = synthesis(frames, seed=5)
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    pieces = [frames.cut(a, a + n) for a, n in zip(starts, cuts, strict=True)]
    made = torch.cat(list(synthesis.stream(pieces, seed=5)), 2)
    torch.testing.assert_close(made, whole, rtol=1e-4, atol=1e-4)


def test_gradient_reaches_envelopes(synthesis):
    frames = _frames(synthesis, 10)
    frames.harmonic.requires_grad_()
    frames.noise.requires_grad_()
    synthesis(frames).square().sum().backward()
    for grad in (frames.harmonic.grad, frames.noise.grad):
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0


def test_same_seed_same_sound_other_seed_other_noise(synthesis):
    frames = _frames(synthesis, 30)
    assert torch.equal(synthesis(frames, seed=1), synthesis(frames, seed=1))
    assert not torch.equal(synthesis(frames, seed=1), synthesis(frames, seed=2))
