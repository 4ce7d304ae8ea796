"""Mu-law levels: the pinned values of both directions."""

import pytest
import torch

from speechvq.speech.mulaw import mulaw_decode, mulaw_encode

WAVE = [-1, -0.999, -0.5, -0.1, -0.01, -0.001, -1e-4, 0, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.999, 1]
LEVELS = [0, 0, 16, 52, 98, 122, 127, 128, 128, 133, 157, 203, 239, 255, 255]
DECODED = {
    0: -1, 1: -0.9572737087, 64: -0.0581450039, 100: -0.0090467635, 126: -0.0002643623, 127: -0.0000862116,
    128: 0.0000862116, 129: 0.0002643623, 192: 0.0609039380, 254: 0.9572737087, 255: 1,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encode(dtype: torch.dtype):
    assert mulaw_encode(torch.tensor(WAVE, dtype=dtype)).tolist() == LEVELS


def test_beyond_full_scale_is_clamped():
    assert mulaw_encode(torch.tensor([-3.0, 1.5])).tolist() == [0, 255]


def test_decode():
    made = mulaw_decode(torch.tensor(list(DECODED)))
    assert made.dtype == torch.float32
    assert torch.allclose(made, torch.tensor(list(DECODED.values())), rtol=2e-7, atol=1e-10)


def test_levels_survive_the_round_trip_and_mirror():
    levels = torch.arange(256)
    assert torch.equal(mulaw_encode(mulaw_decode(levels)), levels)
    assert torch.equal(mulaw_decode(levels), -mulaw_decode(255 - levels))


def test_error_of_the_round_trip():
    wave = torch.linspace(-1, 1, 1_000_001, dtype=torch.float64)
    error = (mulaw_decode(mulaw_encode(wave)) - wave).abs()
    assert error.max().item() == pytest.approx(0.021595, abs=2e-6)
    assert abs(wave[error.argmax()].item()) == pytest.approx(0.9784, abs=1e-3)
    assert error.mean().item() == pytest.approx(0.005479, abs=2e-6)


def test_signal_to_noise_of_gaussian_sound():
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(400_000)
    noise = mulaw_decode(mulaw_encode(wave)) - wave
    assert (10 * torch.log10(wave.square().mean() / noise.square().mean())).item() == pytest.approx(
        37.75, abs=0.05
    )


def test_around_silence():
    assert mulaw_encode(torch.tensor([1.743e-4, 1.744e-4, -1.743e-4, -1.744e-4])).tolist() == [
        128,
        129,
        127,
        126,
    ]
    for levels, silence, half in ((512, 256, 2.4037e-5), (1024, 512, 6.6458e-6)):
        assert mulaw_encode(torch.zeros(1), levels=levels).item() == silence
        assert mulaw_decode(torch.tensor([silence]), levels=levels).item() == pytest.approx(half, rel=1e-4)
