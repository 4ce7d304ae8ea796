"""The recurrent decoder of van Niekerk et al. (2020, ZeroSpeech): two GRUs, mu-law, sample by sample.

Codes are repeated to 100 a second and put beside the voice; a bidirectional GRU of two layers hears the
whole sentence; its output, repeated to the sample rate and put beside the embedding of the last sample,
goes through one more GRU and two linear layers to a category per mu-law level. The target at t is sample
t and the input is sample t - 1; generation begins with silence (level 128).
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from tqdm.auto import tqdm

from speechvq.codec import DECODERS, Batch, Decoder, Reconstruction
from speechvq.errors import BadSetting
from speechvq.losses.likelihood import categorical_nll, masked_mean
from speechvq.nets.condition import SpeakerCondition, TimeJitter
from speechvq.nets.sampling import Sampling, Uniforms, sample, sampling_of
from speechvq.speech.gru_step import Cell
from speechvq.speech.mulaw import mulaw_decode, mulaw_encode
from speechvq.speech.own_codes import OwnCodes
from speechvq.speech.samplewise import check_options, fit, windows
from speechvq.table import preset


@dataclass(frozen=True)
class Widths:
    """Channels of the decoder's parts; as published unless told otherwise."""

    voice: int = 64  # of a speaker
    context: int = 128  # of each direction of the GRU over the codes
    sample: int = 256  # of the last sample's embedding
    memory: int = 896  # of the GRU over the samples
    post: int = 256  # between the two last linear layers

    def __post_init__(self) -> None:
        for part in fields(self):
            if getattr(self, part.name) < 1:
                raise BadSetting(
                    f"the GRU decoder's {part.name} is {getattr(self, part.name)}; give at least 1"
                )


SIZES = {
    "tiny": Widths(voice=16, context=32, sample=32, memory=64, post=32),
    "small": Widths(voice=64, context=64, sample=128, memory=384, post=128),
    "published": Widths(),
}


@DECODERS.register("gru")
class GRUDecoder(Decoder):
    """Codes and a voice to a waveform, sample by sample; a sentence is heard whole before it is spoken."""

    draws = True

    def __init__(
        self,
        speakers: tuple[str, ...],
        *,
        dim: int = 64,
        hop: int = 320,
        up: int = 2,
        lead: int = 0,
        widths: str | Widths = "published",
        levels: int = 256,
        jitter: float = 0.5,
        window: int = 0,
        own_codes: int = 0,
    ) -> None:
        """Build the decoder.

        Args:
            speakers: names of the voices; none makes a decoder without a voice condition.
            dim: channels of the vectors.
            hop: samples per vector.
            up: how often a vector is repeated before the first GRU; divides ``hop``.
            lead: samples of a recording before those of its first code (160 after "zerospeech").
            widths: channels, or the name of a size (tiny, small, published).
            levels: of the mu-law.
            jitter: probability of the time-jitter, in training.
            window: samples of each recording that one training step predicts; 0 for all.
            own_codes: size of the codebook when the decoder has vectors of its own in place of the
                codebook's, as VQ-CPC's vocoder has; only for imported codecs, whose encoder has
                learned all it will. 0 for none.
        """
        super().__init__()
        widths = preset(widths, SIZES, "GRU decoder")
        if min(hop, up) < 1 or hop % up or min(lead, window, own_codes) < 0 or not 2 <= levels <= 65536:
            raise BadSetting(
                f"hop is {hop}, up {up}, lead {lead}, window {window}, own_codes {own_codes} and levels "
                f"{levels}: up must divide hop, levels be 2 to 65536, and the others at least 0"
            )
        self.dim, self.hop, self.up, self.lead = dim, hop, up, lead
        self.speakers, self.levels, self.window = tuple(speakers), levels, window
        known = self.speakers
        self.voice = SpeakerCondition(known, widths.voice, embedding_dim=0) if known else None
        self.jitter = TimeJitter(jitter)
        self.own = OwnCodes(own_codes, dim) if own_codes else None
        wide = dim + (widths.voice if known else 0)
        self.context = nn.GRU(wide, widths.context, num_layers=2, batch_first=True, bidirectional=True)
        self.embedding = nn.Embedding(levels, widths.sample)
        self.memory = nn.GRU(widths.sample + 2 * widths.context, widths.memory, batch_first=True)
        self.first = nn.Linear(widths.memory, widths.post)
        self.last = nn.Linear(widths.post, levels)

    def reconstruct(self, vectors: Tensor, batch: Batch) -> Reconstruction:
        """Loss "sound/nll", nats per valid sample that has a code.

        T codes are held against T * hop samples from ``lead`` on; in training, `window` of them, at a
        random place of each recording.
        """
        lengths = None if batch.mask is None else _filled(vectors)
        voice = None if self.voice is None else self.voice.learn(batch.condition)[0]
        heard = self.hear(self.jitter(vectors), voice, lengths)
        before, steps, valid = self._targets(batch, vectors.shape[2])
        if lengths is not None:
            valid = valid & (torch.arange(valid.shape[1], device=valid.device) < lengths[:, None] * self.hop)
        if self.training and 0 < self.window < steps.shape[1]:
            column = self.hop // self.up
            heard, before, steps, valid = windows(self.window, column, heard, before, steps, valid)
        nll = categorical_nll(self.logits(before, heard), steps)
        return Reconstruction({"sound/nll": masked_mean(nll, valid)})

    def hear(self, vectors: Tensor, voice: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """What the first GRU makes of codes (B, D, T) and a voice (B, C): (B, 2 context, T * up).

        With ``lengths`` (B,) codes, each row is heard as if it were alone; beyond them are zeros.
        """
        x = vectors if self.own is None else self.own(vectors)
        x = x.repeat_interleave(self.up, dim=2).transpose(1, 2)
        if voice is not None:
            x = torch.cat([x, voice[:, None].expand(-1, x.shape[1], -1).to(x.dtype)], dim=2)
        if lengths is None:
            return self.context(x)[0].transpose(1, 2)
        counts = lengths.clamp(min=1).cpu() * self.up
        packed = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        heard, _ = pad_packed_sequence(self.context(packed)[0], batch_first=True, total_length=x.shape[1])
        return heard.transpose(1, 2)

    def logits(self, before: Tensor, heard: Tensor) -> Tensor:
        """(B, levels, L) of all samples at once, from the level before each (B, L) and `hear`'s columns."""
        each = before.shape[1] // heard.shape[2]
        condition = heard.repeat_interleave(each, dim=2).transpose(1, 2)
        x = torch.cat([self.embedding(before).to(condition.dtype), condition], dim=2)
        return self.last(F.relu(self.first(self.memory(x)[0]))).transpose(1, 2)

    @torch.no_grad()
    def generate(self, vectors: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """Vectors (B, D, T) to a waveform (B, 1, T * hop) in [-1, 1], zero where ``mask`` (B, T) is False.

        It begins ``lead`` samples into the recording whose codes they are. Rows of different lengths run
        together and leave as they end; a row sounds as it would as the same row of any other batch.

        Options:
            speaker: a name, or (B,) rows.
            sampling: a `Sampling`; temperature 1 by default.
            seed: in place of the sampling's.
            progress: show a progress bar.
        """
        check_options("GRU", options, "speaker", "sampling", "seed", "progress")
        batch, _, length = vectors.shape
        if mask is None:
            mask = torch.ones(batch, length, dtype=torch.bool, device=vectors.device)
        lengths, order = mask.sum(1).sort(descending=True, stable=True)
        voice = self._voice(options.get("speaker"), batch)
        wave = vectors.new_zeros(batch, length * self.hop, dtype=torch.float32)
        if not int(lengths.sum()):
            return wave[:, None]
        uniforms = Uniforms(sampling_of(options).seed, batch)
        uniforms.streams = [uniforms.streams[row] for row in order.tolist()]
        total, hidden = int(lengths.sum()) * self.hop, not options.get("progress")
        # Whatever the autocast: weights that are laid out for single steps do not follow it.
        whole = torch.autocast(vectors.device.type, enabled=False)
        with whole, tqdm(total=total, unit=" samples", disable=hidden) as bar:
            told = None if voice is None else voice[order]
            heard = self.hear((vectors * mask[:, None])[order], told, lengths)
            speech = Speech(self, batch, sampling_of(options), uniforms)
            for place in range(max(lengths.tolist())):
                rows = int((lengths > place).sum())
                piece = speech.say(heard[:rows, :, place * self.up : (place + 1) * self.up])
                wave[order[:rows], place * self.hop : (place + 1) * self.hop] = piece
                bar.update(piece.numel())
        return wave[:, None]

    def _targets(self, batch: Batch, codes: int) -> tuple[Tensor, Tensor, Tensor]:
        """The level before each predicted sample, the samples' levels, and which are valid."""
        places = codes * self.hop
        wave = F.pad(batch.signal[:, 0], (1, 0))  # before the recording there is silence
        valid = torch.ones_like(batch.signal[:, 0], dtype=torch.bool) if batch.mask is None else batch.mask
        steps = mulaw_encode(fit(wave[:, self.lead :], places + 1).float(), levels=self.levels)
        return steps[:, :-1], steps[:, 1:], fit(valid[:, self.lead :], places)

    def _voice(self, speaker: str | Tensor | None, batch: int) -> Tensor | None:
        if self.voice is None:
            return None
        if speaker is None:
            raise BadSetting(f"which voice? give speaker=, one of {', '.join(self.speakers)}")
        return self.voice(speaker).expand(batch, -1)


class Speech:
    """A batch of sentences being spoken: the second GRU's state, the last samples, the noise."""

    def __init__(self, decoder: GRUDecoder, batch: int, sampling: Sampling, uniforms: Uniforms) -> None:
        """At the beginning of ``batch`` sentences, with one stream of ``uniforms`` each."""
        self.levels, self.column = decoder.levels, decoder.hop // decoder.up
        self.sampling, self.uniforms = sampling, uniforms
        self.cell = Cell(decoder.embedding, decoder.memory, decoder.first, decoder.last)
        self.state = self.cell.start(batch)
        silence = mulaw_encode(torch.zeros(()), levels=decoder.levels)
        self.steps = silence.to(self.state.device).expand(batch)

    def say(self, heard: Tensor) -> Tensor:
        """The next samples (n, columns * hop / up) of the first n sentences, from columns (n, C, columns).

        Sentences beyond the first n have ended and leave.
        """
        rows, made = len(heard), []
        self.steps, self.state = self.steps[:rows], self.state[:rows]
        for condition in self.cell.conditions(heard):
            uniforms = self.uniforms.draw(self.column, rows).to(heard.device)
            for now in range(self.column):
                output, self.state = self.cell.step(self.steps, condition, self.state)
                self.steps = sample(output, self.sampling, uniforms[:, now])
                made.append(self.steps)
        return mulaw_decode(torch.stack(made, dim=1), levels=self.levels)


def _filled(vectors: Tensor) -> Tensor:
    """How many codes each row (B, D, T) has: the quantizer leaves zeros where there is only padding."""
    here = (vectors.detach() != 0).any(1)
    places = torch.arange(1, vectors.shape[2] + 1, device=vectors.device)
    return (here * places).amax(1)
