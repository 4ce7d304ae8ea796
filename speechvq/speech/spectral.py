"""The non-autoregressive decoder: residual blocks to envelopes and pitch, then an inverse FFT.

The blocks turn codes and a voice into a log-mel spectrogram, a pitch track and a share of noise for each
band; `SourceFilter` turns those into a waveform. Trained to the log-mel frames alone (``learn="frames"``,
a hundredth of the cost) it already speaks; trained to the waveform (``learn="waveform"``) it refines.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from speechvq.codec import DECODERS, Batch, Decoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.losses.spectral import MultiResolutionSTFT
from speechvq.nets.condition import SpeakerCondition, TimeJitter
from speechvq.nets.conv import ChannelNorm, Conv1d, ResidualBlock, channels_last
from speechvq.speech.features import PITCH_RANGE, LogMel
from speechvq.speech.source_filter import Frames, SourceFilter
from speechvq.table import preset

SIZES = {
    "tiny": {"channels": 96, "slow": (1, 2), "fast": (1,)},
    "small": {"channels": 256, "slow": (1, 2, 4, 1), "fast": (1, 2)},
    "base": {"channels": 384, "slow": (1, 2, 4, 1, 2), "fast": (1, 2, 4)},
}


@dataclass(frozen=True)
class SpectralLoss:
    """Weights of what the decoder is trained to.

    Attributes:
        learn: "frames" for log-mel and pitch only, "waveform" for the sound as well.
        mel: log-mel L1 of the predicted frames.
        pitch: log-pitch L1 and voicing cross-entropy.
        stft: multi-resolution STFT loss of the waveform.
        sound_mel: log-mel L1 of the waveform.
        embedding: share of a batch that speaks from the embedding of its recording, not from the table.
    """

    learn: str = "frames"
    mel: float = 1.0
    pitch: float = 0.5
    stft: float = 1.0
    sound_mel: float = 1.0
    embedding: float = 0.2

    def __post_init__(self) -> None:
        if self.learn not in ("frames", "waveform"):
            raise BadSetting(f"the spectral decoder learns 'frames' or 'waveform', not {self.learn!r}")


@dataclass(frozen=True)
class Plan:
    """What the blocks say of each frame at 100 Hz, before synthesis.

    Attributes:
        mel: (B, bands, T) log-mel.
        pitch: (B, T) log Hz.
        voicing: (B, T) logit of being voiced.
        frames: what the synthesiser takes.
    """

    mel: Tensor
    pitch: Tensor
    voicing: Tensor
    frames: Frames


@DECODERS.register("spectral")
class SpectralDecoder(Decoder):
    """Codes and a voice to a waveform, many times faster than real time on one CPU core."""

    def __init__(
        self,
        speakers: tuple[str, ...],
        *,
        dim: int = 64,
        hop: int = 320,
        size: str = "base",
        voice_channels: int = 128,
        jitter: float = 0.12,
        loss: SpectralLoss = SpectralLoss(),  # noqa: B008 (frozen)
    ) -> None:
        """``hop`` is a multiple of 160 samples at 16 kHz; ``size`` tiny, small or base.

        With ``voice_channels`` 0 it is not told who speaks: every voice that is asked for sounds the same.
        """
        super().__init__()
        shape = preset(size, SIZES, "spectral decoder")
        self.mel = LogMel()
        if hop % self.mel.hop:
            raise BadSetting(f"a hop of {hop} samples is not a multiple of the frames' {self.mel.hop}")
        self.dim, self.hop, self.speakers, self.loss = dim, hop, tuple(speakers), loss
        self.up = hop // self.mel.hop
        channels, slow, fast = shape["channels"], shape["slow"], shape["fast"]
        self.voice = SpeakerCondition(self.speakers, voice_channels)
        self.jitter = TimeJitter(jitter)
        self.enter = Conv1d(dim, channels, 5, padding=2)
        self.slow = nn.ModuleList(ResidualBlock(channels, dilation=d, condition=voice_channels) for d in slow)
        self.rise = Conv1d(channels, channels * self.up, 3, padding=1)
        self.fast = nn.ModuleList(ResidualBlock(channels, dilation=d, condition=voice_channels) for d in fast)
        self.norm = ChannelNorm(channels)
        bands = self.mel.bands
        self.heads = Conv1d(channels, 4 * bands + 2, 1)
        self.synthesis = SourceFilter(self.mel)
        self.distance = MultiResolutionSTFT()
        self.reach = 2 + sum(slow) + 1 + math.ceil(sum(fast) / self.up)
        self._start_heads(bands)

    def _start_heads(self, bands: int) -> None:
        """Begin with the mel envelope for both branches, and noise that grows towards high bands."""
        bias = self.heads.bias
        assert bias is not None
        with torch.no_grad():
            self.heads.weight[bands : 4 * bands].zero_()
            bias.zero_()
            bias[:bands] = -5.0
            bias[3 * bands : 4 * bands] = torch.linspace(4, -2, bands)
            bias[-2] = math.log(140.0)

    def plan(self, vectors: Tensor, voice: Tensor) -> Plan:
        """Vectors (B, D, T) at code rate and a voice (B, voice_channels) to frames at 100 Hz."""
        x = self.enter(channels_last(vectors))
        for block in self.slow:
            x = block(x, voice)
        B, C, T = x.shape  # noqa: N806
        x = self.rise(x).transpose(1, 2).reshape(B, T * self.up, C).transpose(1, 2)
        for block in self.fast:
            x = block(x, voice)
        out = self.heads(self.norm(x)).float()
        mel, harmonic, noise, share, pitch, voicing = out.split([*[self.mel.bands] * 4, 1, 1], 1)
        pitch = pitch[:, 0].clamp(*(math.log(hz) for hz in PITCH_RANGE))
        # The periodic share of a band: high where voiced, lower towards high bands.
        periodic = torch.minimum(share, 2 * voicing.detach())
        frames = Frames(
            pitch.detach().exp(),
            mel + harmonic + 0.5 * F.logsigmoid(periodic),
            mel + noise + 0.5 * F.logsigmoid(-periodic),
        )
        return Plan(mel, pitch, voicing[:, 0], frames)

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Losses "frames/mel", "pitch/f0", "pitch/voicing", "voice/embedding", "sound/stft", "sound/mel"."""
        voice, losses = self.voice.learn(batch.condition, share=self.loss.embedding)
        plan = self.plan(self.jitter(vectors), voice)
        target = self.mel(batch.signal)[..., : plan.mel.shape[2]]
        valid = self._valid(batch, target)
        losses["frames/mel"] = self.loss.mel * _mean((plan.mel - target).abs().mean(1), valid)
        truth = batch.condition.get("pitch")
        frames = plan.frames
        if truth is not None:
            truth = truth[:, : target.shape[2]]
            voiced, known = (truth > 0) & (valid > 0), (truth >= 0) & (valid > 0)
            error = (plan.pitch - truth.clamp(min=PITCH_RANGE[0]).log()).abs()
            losses["pitch/f0"] = 4 * self.loss.pitch * _mean(error, voiced.float())
            entropy = F.binary_cross_entropy_with_logits(plan.voicing, voiced.float(), reduction="none")
            losses["pitch/voicing"] = self.loss.pitch * _mean(entropy, known.float())
            # Harmonics of the true pitch fall where the target's do, whatever was predicted.
            frames = Frames(torch.where(voiced, truth, frames.pitch), frames.harmonic, frames.noise)
        if self.loss.learn == "frames":
            return Reconstruction(losses, None)
        mask = valid.repeat_interleave(self.mel.hop, 1)[:, None]
        made = self.synthesis(frames) * mask
        signal = batch.signal[..., : made.shape[2]] * mask
        losses["sound/stft"] = self.loss.stft * self.distance(made, signal)
        losses["sound/mel"] = self.loss.sound_mel * _mean((self.mel(made) - target).abs().mean(1), valid)
        return Reconstruction(losses, made)

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, T) to a waveform (B, 1, T * hop) in [-1, 1].

        Options:
            speaker: a name, (B,) rows or (B, 256) embeddings of reference recordings.
            seed: of the noise; 0 by default.
        """
        if unknown := set(options) - {"speaker", "seed"}:
            raise BadSetting(
                f"the spectral decoder has no option {', '.join(sorted(unknown))}; it knows speaker, seed"
            )
        pieces = self.stream([vectors], **options)
        wave = torch.cat(list(pieces), 2)
        return wave if mask is None else wave * mask.repeat_interleave(self.hop, 1)[:, None]

    @torch.no_grad()
    def stream(
        self, vectors: Iterable[Tensor], *, speaker: str | Tensor | None = None, seed: int = 0
    ) -> Iterator[Tensor]:
        """Pieces (B, D, t) of one long sequence to pieces (B, 1, n) of its waveform, without a seam.

        The pieces together are what the whole would be (to rounding); memory holds one piece and the
        decoder's reach.
        """
        if speaker is None:
            raise BadSetting(f"which voice? give speaker=, one of {', '.join(self.speakers)}")
        voice = self.voice(speaker)
        for wave in self.synthesis.stream(self._planned(vectors, voice), seed=seed):
            yield wave.clamp(-1, 1)

    def _planned(self, vectors: Iterable[Tensor], voice: Tensor) -> Iterator[Frames]:
        """Frames of each piece, computed with enough neighbours that they equal those of the whole."""
        held: Tensor | None = None
        done = 0  # of the held vectors, how many have been planned
        for piece in vectors:
            held = piece if held is None else torch.cat([held, piece], 2)
            ready = held.shape[2] - self.reach
            if ready > done:
                yield self.plan(held, voice.expand(len(held), -1)).frames.cut(done * self.up, ready * self.up)
                drop = max(0, ready - self.reach)
                held, done = held[:, :, drop:], ready - drop
        if held is not None and held.shape[2] > done:
            yield self.plan(held, voice.expand(len(held), -1)).frames.cut(done * self.up)

    def _valid(self, batch: Batch, frames: Tensor) -> Tensor:
        if batch.mask is None:
            return torch.ones_like(frames[:, 0])
        return batch.mask[:, self.mel.hop - 1 :: self.mel.hop][:, : frames.shape[2]].to(frames.dtype)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
