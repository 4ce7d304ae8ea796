"""Encoders of speech: strided convolutions on the waveform, or on log-mel or MFCC frames.

`StridedEncoder` is the encoder of "Neural Discrete Representation Learning" (van den Oord et al. 2017,
section 4.3). `MelEncoder` is that of Chorowski et al. (2019), or of van Niekerk et al. (2020, "bshall"),
widened by residual blocks at code rate.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.codec import ENCODERS, Encoder
from speechvq.errors import BadSetting
from speechvq.nets.conv import ChannelNorm, Conv1d, ResidualBlock, channels_last
from speechvq.quantize.batch_norm import BatchNorm
from speechvq.speech.features import MFCC, LogMel

STRIDED_PRESETS = {
    "paper64": {"strides": (2,) * 6},
    "paper128": {"strides": (2,) * 7},
    "phone640": {"strides": (2,) * 7 + (5,)},
}

LINEAR_BANDS = 27
"""Of 80 Slaney bands up to 8 kHz, those below 1 kHz, where the scale is linear."""


@ENCODERS.register("strided")
class StridedEncoder(Encoder):
    """Raw waveform through convolutions: kernel 4 for stride 2, kernel s without padding otherwise.

    Six strides of 2 are the paper's: floor(L / 64) vectors, each of which sees 190 samples. ``dilations``
    adds residual blocks at code rate, whose wider sight phone-like units want.
    """

    def __init__(
        self,
        dim: int = 64,
        *,
        preset: str = "paper64",
        channels: int = 256,
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] = (),
        standardise: bool = True,
    ) -> None:
        """``preset`` (paper64, paper128, phone640) gives the strides unless they are given.

        ``standardise`` brings each channel of the vectors to zero mean and unit variance by batch
        statistics, without which few codes come into use (the paper says nothing of it).
        """
        super().__init__()
        if preset not in STRIDED_PRESETS:
            raise BadSetting(f"there is no strided preset {preset!r}; known: {', '.join(STRIDED_PRESETS)}")
        strides = tuple(strides or STRIDED_PRESETS[preset]["strides"])
        self.dim, self.hop, self.receptive_field = dim, 1, 1
        self.layers = nn.ModuleList()
        self._shape = [(4, 2, 1) if stride == 2 else (stride, stride, 0) for stride in strides]
        widths = [1, *[channels] * (len(strides) - 1)]
        for wide, (kernel, stride, padding) in zip(widths, self._shape, strict=True):
            self.layers.append(Conv1d(wide, channels, kernel, stride, padding))
            self.receptive_field += (kernel - 1) * self.hop
            self.hop *= stride
        self.blocks = nn.ModuleList(ResidualBlock(channels, dilation=d) for d in dilations)
        self.receptive_field += 2 * sum(dilations) * self.hop
        self.project = Conv1d(channels, dim, 1)
        self.norm = BatchNorm(dim, affine=False) if standardise else nn.Identity()

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 1, L) to (B, dim, L // hop)."""
        x = channels_last(signal)
        for layer in self.layers:
            x = F.relu(layer(x))
        for block in self.blocks:
            x = block(x)
        return self.norm(self.project(x))

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors that ``size`` samples become; fewer samples than a hop are an error."""
        length = size[0]
        for kernel, stride, padding in self._shape:
            length = (length + 2 * padding - kernel) // stride + 1
        if length < 1:
            raise BadSetting(f"{size[0]} samples are too short for this encoder, which needs {self.hop}")
        return (length,)


@ENCODERS.register("mel")
class MelEncoder(Encoder):
    """Log-mel or MFCC frames at 100 Hz through convolutions to 50 vectors a second, or to 25 or 100.

    Layout "chorowski": conv 3, conv 3 residual, conv 4 stride 2, two residual conv 3, four residual 1×1,
    ReLU; floor(L / 320) vectors. Layout "bshall": unpadded conv 3 and batch norm throughout; frames are
    centred on multiples of the hop, T of them become floor((T - 2) / 2) vectors.
    Layout "blocks": conv 3, conv 4 stride 2, then residual blocks with ``dilations`` at code rate; for 25
    vectors a second one more conv 4 stride 2, for 100 a conv 3 instead.
    """

    def __init__(
        self,
        dim: int = 64,
        *,
        layout: str = "blocks",
        features: str = "logmel",
        channels: int = 256,
        dilations: Sequence[int] | None = None,
        remove_mean: bool = True,
        warp: float = 0.0,
        frame_rate: int = 50,
    ) -> None:
        """``features`` "logmel" (80 bands) or "mfcc" (39); ``remove_mean``: over each recording's frames.

        ``frame_rate`` is in vectors a second: 50, or with layout "blocks" 25, 50 or 100.

        In training, formants of each item move by up to ``warp`` bands of the log-mel (2.5 are about 10 %),
        so that codes forget the length of the vocal tract (VTLP, Jaitly and Hinton 2013).
        """
        super().__init__()
        if features not in ("logmel", "mfcc") or layout not in ("blocks", "chorowski", "bshall"):
            raise BadSetting(
                f"the mel encoder knows features logmel, mfcc and layouts blocks, chorowski, bshall; "
                f"it was given {features!r} and {layout!r}"
            )
        if warp < 0 or (warp and features != "logmel"):
            raise BadSetting(f"warp is {warp}; it moves log-mel bands, by 0 or more")
        if frame_rate not in ((25, 50, 100) if layout == "blocks" else (50,)):
            raise BadSetting(
                f"frame_rate is {frame_rate}; layout blocks gives 25, 50 or 100 vectors a second, "
                "chorowski and bshall give 50"
            )
        self.dim, self.layout, self.remove_mean, self.warp = dim, layout, remove_mean, warp
        self.hop = 16_000 // frame_rate
        self.features = LogMel() if features == "logmel" else MFCC()
        bands = self.features.bands
        if dilations is None:
            dilations = (1, 2, 4, 1, 2, 4) if layout == "blocks" else ()
        if layout == "blocks":
            stem, frames = _blocks(bands, channels, frame_rate)
        else:
            stem, frames = {"chorowski": _chorowski, "bshall": _bshall}[layout](bands, channels), 16
        blocks = [ResidualBlock(channels, dilation=d) for d in dilations]
        self.layers = nn.Sequential(*stem, *blocks, *([ChannelNorm(channels)] if blocks else []))
        self.project = Conv1d(channels, dim, 1)
        frames += 2 * (self.hop // self.features.hop) * sum(dilations)
        self.receptive_field = (frames - 1) * 160 + 400 + (8 * 160 if features == "mfcc" else 0)

    def forward(self, signal: Tensor, mask: Tensor | None = None, *, mean: Tensor | None = None) -> Tensor:
        """(B, 1, L) to (B, dim, L // hop).

        Args:
            signal: 16 kHz samples.
            mask: (B, L), True where valid.
            mean: (B, bands, 1), the mean of the recording that ``signal`` is a piece of.
        """
        x = self.frames(signal)
        if self.training and self.warp:
            x = _warped(x, self.warp)
        if self.remove_mean:
            x = x - (self.mean(x, mask) if mean is None else mean)
        if mask is not None:
            x = x * self._frame_mask(x, mask)
        return self.project(self.layers(channels_last(x)))

    def frames(self, signal: Tensor) -> Tensor:
        """Feature frames (B, bands, L // 160) of (B, 1, L); one more, shifted by half, for "bshall"."""
        return self.features(F.pad(signal, (80, 80)) if self.layout == "bshall" else signal)

    def mean(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, bands, 1) mean of frames (B, bands, T) over the valid ones."""
        if mask is None:
            return frames.mean(2, keepdim=True)
        valid = self._frame_mask(frames, mask)
        return (frames * valid).sum(2, keepdim=True) / valid.sum(2, keepdim=True).clamp(min=1)

    def _frame_mask(self, frames: Tensor, mask: Tensor) -> Tensor:
        valid = mask[:, None, self.features.hop - 1 :: self.features.hop][..., : frames.shape[2]]
        return F.pad(valid, (0, frames.shape[2] - valid.shape[2])).to(frames.dtype)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors that ``size`` samples become; fewer samples than a hop are an error."""
        frames = size[0] // self.features.hop
        codes = (frames - 1) // 2 if self.layout == "bshall" else size[0] // self.hop
        if codes < 1:
            raise BadSetting(f"{size[0]} samples are too short for this encoder, which needs {self.hop}")
        return (codes,)


def _warped(frames_BMT: Tensor, most: float) -> Tensor:
    """Log-mel frames with each item's spectrum stretched: whole bands' shift where mel is logarithmic."""
    B, M, T = frames_BMT.shape
    shift_B1 = (2 * torch.rand(B, 1, device=frames_BMT.device) - 1) * most
    band_M = torch.arange(M, device=frames_BMT.device)
    place_BM = (band_M + shift_B1 * (band_M / LINEAR_BANDS).clamp(max=1)).clamp(0, M - 1)
    low_BM = place_BM.floor().long().clamp(max=M - 2)
    share_BM1 = (place_BM - low_BM)[..., None]
    at = low_BM[..., None].expand(B, M, T)
    return frames_BMT.gather(1, at) * (1 - share_BM1) + frames_BMT.gather(1, at + 1) * share_BM1


class _Residual(nn.Module):
    """x + ReLU(conv(x))."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.conv(x))


def _blocks(bands: int, channels: int, rate: int) -> tuple[list[nn.Module], int]:
    """From 100 frames a second to ``rate`` vectors, and how many frames each of them sees."""
    first, halve = Conv1d(bands, channels, 3, padding=1), partial(Conv1d, channels, channels, 4, 2, 1)
    if rate == 100:
        return [first, nn.GELU(), Conv1d(channels, channels, 3, padding=1)], 5
    if rate == 50:
        return [first, nn.GELU(), halve()], 6
    return [first, nn.GELU(), halve(), nn.GELU(), halve()], 12


def _chorowski(bands: int, channels: int) -> list[nn.Module]:
    return [
        Conv1d(bands, channels, 3, padding=1), nn.ReLU(), _Residual(channels, 3),
        Conv1d(channels, channels, 4, 2, 1), nn.ReLU(),
        *[_Residual(channels, 3) for _ in range(2)], *[_Residual(channels, 1) for _ in range(4)],
    ]  # fmt: skip


def _bshall(bands: int, channels: int) -> list[nn.Module]:
    kernels = ((3, 1, 0), (3, 1, 1), (4, 2, 1), (3, 1, 1), (3, 1, 1))
    widths = pairwise([bands, *[channels] * len(kernels)])
    convs = [Conv1d(a, b, *kernel, bias=False) for (a, b), kernel in zip(widths, kernels, strict=True)]
    return [layer for conv in convs for layer in (conv, BatchNorm(channels), nn.ReLU())]
