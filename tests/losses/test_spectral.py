"""The multi-resolution STFT loss against its formula written slowly."""

import torch

from speechvq.losses.spectral import MultiResolutionSTFT


def test_zero_for_equal_and_finite_for_silence():
    distance = MultiResolutionSTFT()
    wave = torch.randn(2, 1, 8000)
    assert float(distance(wave, wave)) == 0
    silent = torch.zeros(2, 1, 8000, requires_grad=True)
    distance(silent, wave).backward()
    assert torch.isfinite(silent.grad).all()


def test_one_resolution_is_the_formula():
    made, target = torch.randn(1, 1, 4000), torch.randn(1, 1, 4000)
    a, b = (
        torch.stft(x[:, 0], 512, 128, 512, torch.hann_window(512), return_complex=True).abs().clamp(min=1e-3)
        for x in (made, target)
    )
    slow = (b - a).norm() / b.norm() + (a.log() - b.log()).abs().mean()
    fast = MultiResolutionSTFT(((512, 128, 512),))(made, target)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
