"""The published models of van Niekerk et al. (2020), put together of plain torch layers from their shapes.

Nothing here comes from speechvq, so that agreement means something. `Sizes` are theirs unless told
otherwise; the checkpoints have the keys, parts and types of the published files.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import scipy.signal
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Sizes:
    """Channels and counts."""

    channels: int = 768
    codes: int = 512
    dim: int = 64
    speakers: int = 102
    voice: int = 64
    context: int = 128
    sample: int = 256
    memory: int = 896
    post: int = 256


SMALL = Sizes(12, 32, 6, 5, 4, 7, 10, 16, 9)


class Encoder(nn.Module):
    """Five convolutions, batch normalised, and a codebook."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        layers, wide = [], 80
        for kernel, stride, padding in ((3, 1, 0), (3, 1, 1), (4, 2, 1), (3, 1, 1), (3, 1, 1)):
            conv = nn.Conv1d(wide, sizes.channels, kernel, stride, padding, bias=False)
            layers += [conv, nn.BatchNorm1d(sizes.channels), nn.ReLU()]
            wide = sizes.channels
        self.encoder = nn.Sequential(*layers, nn.Conv1d(wide, sizes.dim, 1))
        self.codebook = Codebook(sizes)
        self.jitter = nn.Module()
        self.jitter.register_buffer("prob", torch.tensor([0.25, 0.5, 0.25]))

    def forward(self, mel: Tensor) -> Tensor:
        return self.encoder(mel)


class Contrastive(nn.Module):
    """The encoder of the contrastive model, with its LSTM."""

    def __init__(self, sizes: Sizes, memory: int = 256):
        super().__init__()
        wide = sizes.channels
        self.conv = nn.Conv1d(80, wide, 4, 2, 1, bias=False)
        layers: list[nn.Module] = [nn.LayerNorm(wide), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Linear(wide, wide, bias=False), nn.LayerNorm(wide), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Linear(wide, sizes.dim))
        self.codebook = Codebook(sizes)
        self.rnn = nn.LSTM(sizes.dim, memory, batch_first=True)

    def forward(self, mel: Tensor) -> Tensor:
        return self.encoder(self.conv(mel).transpose(1, 2)).transpose(1, 2)


class Codebook(nn.Module):
    """Codes and their moving averages."""

    embedding: Tensor

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.register_buffer("embedding", torch.zeros(sizes.codes, sizes.dim))
        self.register_buffer("ema_count", torch.zeros(sizes.codes))
        self.register_buffer("ema_weight", torch.zeros(sizes.codes, sizes.dim))

    @torch.no_grad()
    def settle(self, encoder: nn.Module) -> None:
        """Codes where the encoder's vectors are, so that many are used, and averages that agree."""
        draw = torch.Generator().manual_seed(1)
        mel = torch.rand(1, 80, 48, generator=draw) * torch.linspace(0, 1, 48)
        vectors = encoder(mel)[0].T
        rows = vectors[torch.arange(len(self.embedding)) % len(vectors)]
        apart = torch.randn(rows.shape, generator=draw) * vectors.std(0) * 0.5
        self.embedding.copy_(rows + apart)
        self.ema_weight.copy_(self.embedding * self.ema_count[:, None])

    def indices(self, z: Tensor) -> Tensor:
        """(B, D, T) to (B, T)."""
        return torch.cdist(z.transpose(1, 2).double(), self.embedding.double()).argmin(-1)


class Decoder(nn.Module):
    """Two GRUs and two linear layers; ``own`` codes for the vocoder of the contrastive model."""

    def __init__(self, sizes: Sizes, *, own: bool = False):
        super().__init__()
        if own:
            self.code_embedding = nn.Embedding(sizes.codes, sizes.dim)
        self.speaker_embedding = nn.Embedding(sizes.speakers, sizes.voice)
        wide = sizes.dim + sizes.voice
        self.rnn1 = nn.GRU(wide, sizes.context, num_layers=2, batch_first=True, bidirectional=True)
        self.mu_embedding = nn.Embedding(256, sizes.sample)
        self.rnn2 = nn.GRU(sizes.sample + 2 * sizes.context, sizes.memory, batch_first=True)
        self.fc1 = nn.Linear(sizes.memory, sizes.post)
        self.fc2 = nn.Linear(sizes.post, 256)

    def forward(self, levels: Tensor, vectors: Tensor, speakers: Tensor) -> Tensor:
        """Levels (B, L), vectors (B, D, T), speakers (B,) to logits (B, L, 256)."""
        up = F.interpolate(vectors, scale_factor=2).transpose(1, 2)
        voice = self.speaker_embedding(speakers)[:, None].expand(-1, up.shape[1], -1)
        heard, _ = self.rnn1(torch.cat((up, voice), dim=-1))
        heard = F.interpolate(heard.transpose(1, 2), scale_factor=160).transpose(1, 2)
        state, _ = self.rnn2(torch.cat((self.mu_embedding(levels), heard), dim=2))
        return self.fc2(F.relu(self.fc1(state)))


def hashed(module: nn.Module) -> nn.Module:
    """Every tensor filled from a hash of its name, and normalisations that are not the identity."""
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point() or name == "jitter.prob":
            continue
        seed = sum((i + 1) * byte for i, byte in enumerate(name.encode()))
        value = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        fan = tensor[0].numel() if tensor.dim() > 1 else 1
        value = value * (1.7 / fan**0.5 if tensor.dim() > 1 else 0.1)
        if name.endswith(("running_var", "ema_count")):
            value = 1.0 + 3 * value.abs()
        elif tensor.dim() == 1 and name.endswith(".weight"):
            value = 1.0 + value
        tensor.copy_(value)
    module.eval()
    if isinstance(module, (Encoder, Contrastive)):
        module.codebook.settle(module)
    return module


def front_end(wave: np.ndarray) -> Tensor:
    """(1, 80, 1 + L // 160), with scipy and librosa."""
    wave = wave.astype(np.float64) / np.abs(wave).max() * 0.999
    mel = librosa.feature.melspectrogram(
        y=scipy.signal.lfilter([1, -0.97], [1], wave), sr=16000, n_mels=80, n_fft=2048, hop_length=160,
        win_length=400, fmin=50, power=1, pad_mode="reflect",
    )  # fmt: skip
    return torch.from_numpy(librosa.amplitude_to_db(mel, top_db=80) / 80 + 1).float()[None]


def training_state(module: nn.Module) -> dict[str, Any]:
    """What else the published files hold."""
    moments = [{"step": 5, "exp_avg": p.detach(), "exp_avg_sq": p.detach()} for p in module.parameters()]
    groups = [{"lr": 4e-4, "betas": (0.9, 0.999), "amsgrad": False, "params": list(range(len(moments)))}]
    return {
        "optimizer": {"state": dict(enumerate(moments)), "param_groups": groups},
        "amp": OrderedDict(loss_scaler0={"loss_scale": 65536.0, "unskipped": 17}),
        "scheduler": {"milestones": Counter({300_000: 1, 400_000: 1}), "gamma": 0.5, "last_epoch": 7},
        "step": 500_000,
    }


def write(path: Path, parts: dict[str, Any], *, legacy: bool = True) -> Path:
    """A checkpoint in the form of torch 1.4, or of today."""
    torch.save(parts, path, _use_new_zipfile_serialization=not legacy)
    return path
