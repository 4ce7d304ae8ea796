"""The autoregressive decoder: WaveNet over the waveform, conditioned on codes and a voice.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.3) with the conditioning of
Chorowski et al. (2019): time-jitter, a convolution over the codes, repetition to the sample rate. The
target at t is sample t and the input is sample t - 1; before the first sample there is silence.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from speechvq.codec import DECODERS, Batch, Decoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.losses.likelihood import masked_mean
from speechvq.nets.condition import SpeakerCondition, TimeJitter
from speechvq.nets.sampling import Uniforms, sampling_of
from speechvq.nets.wavenet import Stack, WaveNet
from speechvq.speech.amplitudes import Amplitudes, Output, amplitudes
from speechvq.speech.samplewise import check_options, fit, windows
from speechvq.speech.utterances import Speech, Utterances
from speechvq.speech.wavenet_backend import speech

STACKS = {
    "tiny": Stack(layers=12, stacks=2, residual=32, gate=32, skip=64, post=64),
    "small": Stack(layers=20, stacks=2, residual=64, gate=64, skip=128, post=128),
    "wn30": Stack(layers=30, stacks=3, residual=64, gate=64, skip=256, post=256),
    "chorowski": Stack(layers=20, stacks=2, residual=368, gate=368, skip=256, post=256),
}


OPTIONS = ("speaker", "sampling", "seed", "backend", "storage")
"""Of `WaveNetDecoder.generate` and `WaveNetDecoder.stream`."""
PIECE = {"cpu": 1600, "cuda": 16000}
"""Samples of an utterance that are made in one go, about, by device."""


@DECODERS.register("wavenet")
class WaveNetDecoder(Decoder):
    """Codes and a voice to a waveform, sample by sample: the paper's quality.

    Attributes:
        backend: who spoke last ("native", "triton", "graph", "torch"); None before the first time.
    """

    draws = True

    def __init__(
        self,
        speakers: tuple[str, ...],
        *,
        dim: int = 64,
        hop: int = 64,
        stack: str | Stack = "wn30",
        cond_channels: int = 128,
        voice_channels: int = 64,
        output: Output = Output(),  # noqa: B008 (frozen)
        jitter: float = 0.12,
        window: int = 10240,
    ) -> None:
        """Build the decoder.

        Args:
            speakers: names of the voices; none makes a decoder without a voice condition.
            dim: channels of the vectors.
            hop: samples per vector.
            stack: widths and depths, or the name of a preset (tiny, small, wn30, chorowski).
            cond_channels: channels of the convolution over the codes.
            voice_channels: channels of the voice.
            output: what is predicted for one sample.
            jitter: probability of the time-jitter, in training.
            window: samples of each recording that one training step predicts; 0 for all.
        """
        super().__init__()
        if isinstance(stack, str):
            if stack not in STACKS:
                raise BadSetting(f"there is no WaveNet preset {stack!r}; known: {', '.join(STACKS)}")
            stack = STACKS[stack]
        if hop < 1 or window < 0:
            raise BadSetting(f"hop is {hop} and window {window}; hop must be at least 1, window at least 0")
        self.dim, self.hop, self.speakers, self.window = dim, hop, tuple(speakers), window
        self.backend: str | None = None
        self.voice = SpeakerCondition(self.speakers, voice_channels) if speakers else None
        self.jitter = TimeJitter(jitter)
        self.context = nn.Conv1d(dim, cond_channels, 3, padding=1)
        self.amplitudes: Amplitudes = amplitudes(output, stack.residual)
        self.net = WaveNet(
            stack, self.amplitudes.channels, local=cond_channels, voice=voice_channels if speakers else 0
        )

    @property
    def receptive_field(self) -> int:
        """Past samples that the prediction of one sample sees."""
        return self.net.stack.receptive_field

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Loss "sound/nll", nats per valid sample (and "voice/embedding" where the batch has embeddings).

        The signal is cut or padded to T * hop samples; in training, `window` samples of each recording
        are predicted, at a random place.
        """
        local = self.context(self.jitter(vectors))
        places = vectors.shape[-1] * self.hop
        valid = torch.ones_like(batch.signal[:, 0], dtype=torch.bool) if batch.mask is None else batch.mask
        valid = fit(valid, places)
        steps = self.amplitudes.steps(fit(batch.signal[:, 0], places))
        before = torch.cat([self._silence(len(steps)), steps[:, :-1]], dim=1)
        if self.training and 0 < self.window < places:
            local, steps, before, valid = windows(self.window, self.hop, local, steps, before, valid)
        voice, losses = (None, {}) if self.voice is None else self.voice.learn(batch.condition)
        output = self.net(self.amplitudes(before), self.net.conditions(local, voice))
        return Reconstruction({"sound/nll": masked_mean(self.amplitudes.nll(output, steps), valid)} | losses)

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, T) to a waveform (B, 1, T * hop) in [-1, 1], zero where ``mask`` (B, T) is False.

        Rows of different lengths run together and leave as they end; a row sounds as it would as the
        same row of any other batch.

        Options:
            speaker: a name, (B,) rows or (B, 256) embeddings of reference recordings.
            sampling: a `Sampling`; temperature 1 by default.
            seed: in place of the sampling's.
            progress: show a progress bar.
            backend: who speaks, as `wavenet_backend.speech` has them; by default the fastest present.
            storage: how the backend holds the weights ("float24", "float32", "bfloat16", "int8" on a CPU).
        """
        check_options("WaveNet", options, *OPTIONS, "progress")
        batch, _, length = vectors.shape
        if mask is None:
            mask = torch.ones(batch, length, dtype=torch.bool, device=vectors.device)
        lengths, order = mask.sum(1).sort(descending=True, stable=True)
        local = self.context(vectors * mask[:, None])[order]
        speaking = self._begin(batch, options, order)
        wave = vectors.new_zeros(batch, length * self.hop, dtype=torch.float32)
        total, hidden = int(lengths.sum()) * self.hop, not options.get("progress")
        with tqdm(total=total, unit=" samples", disable=hidden) as bar:
            place, width = 0, max(1, PIECE.get(vectors.device.type, 1600) // self.hop)
            while rows := int((lengths > place).sum()):
                # As far as all of these rows go, but not so far that the bar or an interrupt waits.
                stop = min(place + width, int(lengths[rows - 1]))
                piece = speaking.say(local[:rows, :, place:stop])
                wave[order[:rows], place * self.hop : stop * self.hop] = piece
                bar.update(piece.numel())
                place = stop
        return wave[:, None]

    @torch.no_grad()
    def stream(self, vectors: Iterable[Tensor], **options: Any) -> Iterator[Tensor]:
        """Pieces (B, D, t) of long sequences to pieces (B, 1, n) of their waveforms, without a seam.

        The pieces together are what `generate` makes of the whole; the options are its own but progress.
        The sound of a code waits for the next code, which the convolution over the codes sees.
        """
        check_options("WaveNet", options, *OPTIONS)
        speaking, held = None, None
        for piece in vectors:
            if speaking is None or held is None:
                speaking = self._begin(len(piece), options)
                held = torch.zeros_like(piece[:, :, :1])  # left of the first code
            held = torch.cat([held, piece], dim=2)
            if held.shape[2] > 2:
                yield speaking.say(self._context(held))[:, None]
                held = held[:, :, -2:]
        if speaking is not None and held is not None and held.shape[2] > 1:
            yield speaking.say(self._context(F.pad(held, (0, 1))))[:, None]

    def _begin(self, batch: int, options: dict[str, Any], order: Tensor | None = None) -> Speech:
        """The beginning of ``batch`` utterances, in the order ``order`` of the rows they came in."""
        sampling, voice = sampling_of(options), self._voice(options.get("speaker"), batch)
        uniforms = Uniforms(sampling.seed, batch)
        if order is not None:
            voice = voice[order] if voice is not None else None
            uniforms.streams = [uniforms.streams[row] for row in order.tolist()]
        utterances = Utterances(self.net, self.amplitudes, self.hop, voice, sampling, uniforms)
        speaking, self.backend = speech(utterances, options.get("backend"), options.get("storage"))
        return speaking

    def _context(self, vectors: Tensor) -> Tensor:
        """The convolution where both neighbours are known: (B, D, t) to (B, C, t - 2)."""
        return F.conv1d(vectors, self.context.weight, self.context.bias)

    def _silence(self, batch: int) -> Tensor:
        return self.amplitudes.steps(torch.zeros(batch, 1, device=self.context.weight.device))

    def _voice(self, speaker: str | Tensor | None, batch: int) -> Tensor | None:
        if self.voice is None:
            return None
        if speaker is None:
            raise BadSetting(f"which voice? give speaker=, one of {', '.join(self.speakers)}")
        return self.voice(speaker).expand(batch, -1)
