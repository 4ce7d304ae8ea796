"""Distances between waveforms by their spectra.

Multi-resolution STFT loss: Yamamoto, Song and Kim, "Parallel WaveGAN" (2020), equations 4 to 7.
"""

import torch
from torch import Tensor, nn

RESOLUTIONS = ((1024, 256, 1024), (512, 128, 512), (256, 64, 256), (2048, 512, 2048))


class MultiResolutionSTFT(nn.Module):
    """Spectral convergence plus log-magnitude L1, averaged over several window lengths."""

    def __init__(
        self, resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS, floor: float = 1e-3
    ) -> None:
        """``resolutions`` are (n_fft, hop, window) in samples; ``floor`` bounds the logarithm."""
        super().__init__()
        self.resolutions, self.floor = resolutions, floor

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        """(B, 1, L) twice to a scalar, 0 when equal; float32 whatever the autocast."""
        with torch.autocast(made.device.type, enabled=False):
            made, target = made.float().squeeze(1), target.float().squeeze(1)
            total = made.new_zeros(())
            for n_fft, hop, win in self.resolutions:
                a, b = (self._magnitude(x, n_fft, hop, win) for x in (made, target))
                convergence = torch.linalg.vector_norm(b - a) / torch.linalg.vector_norm(b).clamp(min=1e-6)
                total = total + convergence + (a.log() - b.log()).abs().mean()
            return total / len(self.resolutions)

    def _magnitude(self, x: Tensor, n_fft: int, hop: int, win: int) -> Tensor:
        window = torch.hann_window(win, device=x.device)
        spectrum = torch.stft(x, n_fft, hop, win, window, return_complex=True)
        # The square root of a floored square keeps the gradient finite in digital silence.
        return (spectrum.real.square() + spectrum.imag.square()).clamp(min=self.floor**2).sqrt()
