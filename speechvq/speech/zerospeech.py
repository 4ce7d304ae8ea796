"""The two encoders of the ZeroSpeech 2020 challenge by van Niekerk et al. (2020), 50 codes a second.

`ZeroSpeechEncoder` is that of their VQ-VAE: five convolutions with batch normalisation on decibel
mel frames. `VQCPCEncoder` is that of their contrastive model: one strided convolution and layer
normalised linear layers; an LSTM over the codes gives its context vectors. The frames' level is the
recording's, so a piece of a recording needs `Level` of the whole.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.codec import ENCODERS, Encoder
from speechvq.errors import BadSetting
from speechvq.nets.conv import Conv1d, channels_last
from speechvq.speech.decibels import DecibelMel, Level

KERNELS = ((3, 1, 0), (3, 1, 1), (4, 2, 1), (3, 1, 1), (3, 1, 1))


@ENCODERS.register("zerospeech")
class ZeroSpeechEncoder(Encoder):
    """floor((T - 2) / 2) vectors of T frames, T = 1 + L // 160; the first convolution is not padded.

    Code i speaks of the 320 samples from ``lead`` + 320 i: one second (49 codes) lacks 10 ms at each end.
    """

    lead = 160
    """Samples before those that the first code stands for."""

    def __init__(self, dim: int = 64, *, channels: int = 768, peak: float | None = 0.999) -> None:
        """``peak`` is what each recording's largest sample is brought to; None leaves it."""
        super().__init__()
        self.dim, self.hop = dim, 320
        # 16 frames. The window begins with a zero, where pre-emphasis adds the sample before.
        self.receptive_field = 15 * 160 + 400
        self.features = DecibelMel(peak=peak)
        widths = pairwise([self.features.bands, *[channels] * len(KERNELS)])
        self.convs = nn.ModuleList(
            Conv1d(a, b, *kernel, bias=False) for (a, b), kernel in zip(widths, KERNELS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in KERNELS)
        self.project = Conv1d(channels, dim, 1)

    def forward(self, signal: Tensor, mask: Tensor | None = None, *, level: Level | None = None) -> Tensor:
        """(B, 1, L) to (B, dim, codes); with ``mask`` (B, L) each row as if it were alone.

        Raises:
            BadSetting: fewer samples than one code needs.
        """
        self.grid((signal.shape[-1],))
        counts = None
        if mask is None:
            x = self.features(signal, level)
        else:
            x, counts = self.features.padded(signal, mask)
        x = channels_last(x)
        for conv, norm, (kernel, stride, padding) in zip(self.convs, self.norms, KERNELS, strict=True):
            x = conv(x)
            if counts is not None:
                counts = ((counts + 2 * padding - kernel) // stride + 1).clamp(min=0)
            x = _normalised(norm, x, counts)
        return self.project(x)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors that ``size`` samples become; fewer than 480 are an error."""
        codes = (DecibelMel.frames(size[0]) - 2) // 2
        if codes < 1:
            raise BadSetting(f"{size[0]} samples are too short for this encoder, which needs 480")
        return (codes,)


@ENCODERS.register("vqcpc")
class VQCPCEncoder(Encoder):
    """T // 2 vectors of T frames, T = 1 + L // 160, of the contrastive model."""

    lead = 0
    """Samples before those that the first code stands for."""

    def __init__(
        self, dim: int = 64, *, channels: int = 512, context: int = 256, peak: float | None = 0.999
    ) -> None:
        """``context`` channels of the LSTM over the codes, 0 for none; ``peak`` as for the other."""
        super().__init__()
        self.dim, self.hop, self.receptive_field = dim, 320, 3 * 160 + 400
        self.features = DecibelMel(peak=peak)
        self.conv = Conv1d(self.features.bands, channels, 4, 2, 1, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(5))
        self.linears = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in range(4))
        self.project = nn.Linear(channels, dim)
        self.context = nn.LSTM(dim, context, batch_first=True) if context else None

    def forward(self, signal: Tensor, mask: Tensor | None = None, *, level: Level | None = None) -> Tensor:
        """(B, 1, L) to (B, dim, codes); with ``mask`` (B, L) each row as if it were alone.

        Raises:
            BadSetting: fewer samples than one code needs.
        """
        self.grid((signal.shape[-1],))
        if mask is None:
            x = self.features(signal, level)
        else:
            # Zeros beyond the end are what the convolution adds there anyway; nothing else looks around.
            x, _ = self.features.padded(signal, mask)
        x = self.conv(channels_last(x)).transpose(1, 2)
        x = F.relu(self.norms[0](x))
        for linear, norm in zip(self.linears, list(self.norms)[1:], strict=True):
            x = F.relu(norm(linear(x)))
        return self.project(x).transpose(1, 2)

    def contexts(self, vectors: Tensor) -> Tensor:
        """Context vectors (B, context, T), of the past only, of quantized vectors (B, dim, T).

        Raises:
            BadSetting: the encoder was built without an LSTM.
        """
        if self.context is None:
            raise BadSetting("this encoder has no context network; build it with context of at least 1")
        return self.context(vectors.transpose(1, 2))[0].transpose(1, 2)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Vectors that ``size`` samples become; fewer than 201 are an error."""
        if size[0] < 201:
            raise BadSetting(f"{size[0]} samples are too short for this encoder, which needs 201")
        return (DecibelMel.frames(size[0]) // 2,)


def _normalised(norm: nn.Module, x: Tensor, counts: Tensor | None) -> Tensor:
    """Norm and ReLU of (B, C, T); places beyond ``counts`` (B,) count for nothing and become zero."""
    if counts is None:
        return F.relu(norm(x))
    valid = torch.arange(x.shape[2], device=x.device) < counts[:, None]
    rows = F.relu(norm(x.transpose(1, 2)[valid]))
    made = rows.new_zeros(len(x), x.shape[2], x.shape[1])
    made[valid] = rows
    return made.transpose(1, 2)
