"""Critics of a waveform: what an adversarial loss and feature matching listen with.

Multi-period critics: Kong et al., "HiFi-GAN" (2020), section 2.3: the wave is folded into rows of p
samples, so that a 2-D convolution with a width of one compares samples p apart. Multi-resolution
spectral critics: Jang et al., "UnivNet" (2021), section 2.2: 2-D convolutions over magnitudes.

Maps are (B, C, h, w): rows x period for the former, bins x frames for the latter.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechvq.errors import BadSetting

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
SLOPE = 0.1


@dataclass(frozen=True)
class Judgement:
    """What one critic says.

    Attributes:
        scores: (B, 1, h, w), high where the wave sounds real.
        features: its inner maps, first to last, each (B, C, h', w').
        mask: (B, 1, h'', w'') float, 1 where the wave was valid, in the layout of the maps (nearest
            neighbours give it any map's size); None when all of it was.
    """

    scores: Tensor
    features: tuple[Tensor, ...]
    mask: Tensor | None = None


class PeriodCritic(nn.Module):
    """One period's critic: five strided convolutions down the columns and a last one to a score."""

    def __init__(self, period: int, width: int = 32) -> None:
        """``width`` channels in the first layer, 32 times as many in the last (32 in the paper)."""
        super().__init__()
        self.period = period
        channels = (1, width, 4 * width, 16 * width, 32 * width)
        strided = [
            weight_norm(nn.Conv2d(i, o, (5, 1), (3, 1), (2, 0)))
            for i, o in zip(channels[:-1], channels[1:], strict=True)
        ]
        last = weight_norm(nn.Conv2d(channels[-1], channels[-1], (5, 1), padding=(2, 0)))
        self.layers = nn.ModuleList([*strided, last])
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor, mask: Tensor | None = None) -> Judgement:
        """(B, 1, L), L at least the period, and ``mask`` (B, L); see `Judgement`."""
        x, features = self._fold(wave, "reflect"), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        folded = None if mask is None else self._fold(mask[:, None].float(), "constant")
        return Judgement(self.score(x), tuple(features), folded)

    def _fold(self, x: Tensor, mode: str) -> Tensor:
        x = F.pad(x, (0, -x.shape[-1] % self.period), mode)
        return x.unflatten(-1, (-1, self.period))


class SpectralCritic(nn.Module):
    """One resolution's critic over the magnitudes of a short-time Fourier transform."""

    window: Tensor

    def __init__(self, resolution: tuple[int, int, int], width: int = 32) -> None:
        """``resolution`` is (n_fft, hop, window) in samples, ``width`` the channels of each layer."""
        super().__init__()
        self.n_fft, self.hop, win = resolution
        self.register_buffer("window", torch.hann_window(win), persistent=False)
        shapes = [((3, 9), (1, 1)), *[((3, 9), (1, 2))] * 3, ((3, 3), (1, 1))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(width if i else 1, width, k, stride, (k[0] // 2, k[1] // 2)))
            for i, (k, stride) in enumerate(shapes)
        )
        self.score = weight_norm(nn.Conv2d(width, 1, (3, 3), padding=(1, 1)))

    def forward(self, wave: Tensor, mask: Tensor | None = None) -> Judgement:
        """(B, 1, L) and ``mask`` (B, L); see `Judgement`."""
        x, features = self._magnitude(wave), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        row = None if mask is None else mask[:, None, None].float()
        return Judgement(self.score(x), tuple(features), row)

    def _magnitude(self, wave: Tensor) -> Tensor:
        """(B, 1, L) to (B, 1, bins, frames), float32 whatever the autocast."""
        with torch.autocast(wave.device.type, enabled=False):
            side = (self.n_fft - self.hop) // 2
            padded = F.pad(wave.float().squeeze(1), (side, side))
            spectrum = torch.stft(
                padded, self.n_fft, self.hop, len(self.window), self.window, center=False, return_complex=True
            )
            # Kept off zero, where the gradient of a magnitude has no end.
            return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-9).sqrt()[:, None]


class Critic(nn.Module):
    """Every period's and every resolution's critic, side by side."""

    def __init__(
        self,
        width: int = 32,
        *,
        periods: tuple[int, ...] = PERIODS,
        resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
    ) -> None:
        """``width`` is the dial: 32 as in the papers, 4 to 8 for a small machine."""
        super().__init__()
        if width < 1 or not (periods or resolutions):
            raise BadSetting(f"a critic needs a width above 0 (not {width}) and a period or a resolution")
        self.members = nn.ModuleList(
            [PeriodCritic(p, width) for p in periods] + [SpectralCritic(r, width) for r in resolutions]
        )

    def forward(self, wave: Tensor, mask: Tensor | None = None) -> list[Judgement]:
        """(B, 1, L) and ``mask`` (B, L), True where valid, to one `Judgement` a member.

        What lies outside the mask is silenced before anyone listens, and marked in each judgement.
        """
        if mask is not None:
            wave = wave * mask[:, None]
        return [member(wave, mask) for member in self.members]
