"""Live conversion: a voice follows a speaker at a bounded lag.

Encoder and decoder look into the future, together some 0.7 s in the shipped codec. A live voice cannot
wait for that. So at every block of samples, all that was heard so far is encoded and planned as if the
recording ended there, and what lies at least ``ahead`` codes before this end is spoken. With more
``ahead`` the sound comes nearer to that of the whole recording; with no bound it is the same.

A recording's mean or level, which some encoders take off, is that of what was heard so far; the mean
begins with that of what the codec says itself, which counts for 0.3 s.

The lag, from a sample to its converted sound, is one block + ``ahead`` codes + two frames of 10 ms that
the synthesis holds back; computing comes on top.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechvq.codec import Codec, evaluating
from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.encoder import MelEncoder
from speechvq.speech.source_filter import Frames
from speechvq.speech.spectral import SpectralDecoder
from speechvq.speech.stream import Streaming
from speechvq.speech.zerospeech import VQCPCEncoder, ZeroSpeechEncoder

LAG = 160.0
"""Milliseconds by default: the first sound within 200, computing included."""
BLOCK = 40.0
"""Milliseconds that are taken in at a time, in whole codes and at least one."""
OWN = 30
"""Frames for which the mean of the codec's own speech counts."""
HELD = 2
"""Frames that the synthesis holds back, as `SourceFilter.stream` explains."""


@dataclass(frozen=True)
class Timing:
    """When what is heard is spoken.

    Attributes:
        block: samples that are taken in at a time, whole codes.
        ahead: codes after the one that is spoken, which are heard first.
        lag: milliseconds from a sample to its sound, without computing; of decoders that speak sample by
            sample, the decoder's own wait for the next code is not in it.
    """

    block: int
    ahead: float
    lag: float

    @classmethod
    def of(cls, codec: Codec, lag: float = LAG) -> "Timing":
        """The timing with the most codes ahead that ``lag`` milliseconds allow; infinity waits for the end.

        Raises:
            BadSetting: the lag is shorter than one block and what the synthesis holds.
        """
        hop, held = codec.encoder.hop, 0
        if isinstance(codec.decoder, SpectralDecoder):
            held = HELD * codec.decoder.mel.hop
        elif not isinstance(codec.decoder, Streaming):
            raise BadSetting("this codec's decoder cannot speak before it has heard everything")
        a_code = 1000 * hop / codec.rate
        block = max(1, int(BLOCK / a_code)) * hop
        least = 1000 * (block + held) / codec.rate
        if not lag >= least:
            raise BadSetting(f"a lag of {lag:g} ms is too short for this codec; the least is {least:g} ms")
        ahead = lag if math.isinf(lag) else math.floor((lag - least) / a_code + 1e-6)
        return cls(block, ahead, least + ahead * a_code)


def convert_live(
    codec: Codec, blocks: Iterable[Tensor], *, lag: float = LAG, **options: Any
) -> Iterator[Tensor]:
    """Blocks (n,) of what is being said to pieces (1, n) of the converted sound, as they come.

    Args:
        codec: on any device.
        blocks: samples at the codec's rate; best `Timing.block` at a time.
        lag: milliseconds from a sample to its sound, at most; infinity waits for the end.
        options: speaker, seed and so on, as `Codec.decode`.

    Raises:
        BadSetting: the lag is too short, or the decoder cannot speak so.
        BadAudio: the sound ended before the first code.
    """
    return converted(codec, Ear(codec, Timing.of(codec, lag).ahead), blocks, options)


@torch.no_grad()
def converted(codec: Codec, ear: "Ear", blocks: Iterable[Tensor], options: Any) -> Iterator[Tensor]:
    """`convert_live` with an `Ear` that was made before the first sample came, which takes a moment."""
    speak = _speak if isinstance(codec.decoder, SpectralDecoder) else _speak_codes
    with evaluating(codec):
        for wave in speak(codec, ear.listen(blocks), options):
            yield wave[0]


@dataclass(frozen=True)
class Heard:
    """Codes of the recent past, as far as they are known by now.

    Attributes:
        indices: (1, K, T).
        first: the first of them that is to be spoken.
        stop: the first that is not.
        last: nothing follows.
    """

    indices: Tensor
    first: int
    stop: int
    last: bool


class Ear:
    """What was heard, as far back as a code or its sound can see."""

    def __init__(self, codec: Codec, ahead: float) -> None:
        """``ahead`` codes after the one that is spoken are heard first, as those before it still are."""
        own: Tensor | float = 0.0
        if isinstance(codec.encoder, MelEncoder) and codec.encoder.remove_mean and not math.isinf(ahead):
            own = OWN * own_mean(codec)
        self.codec, self.ahead = codec, ahead
        self.reach = codec.decoder.reach if isinstance(codec.decoder, SpectralDecoder) else 0
        encoder = codec.encoder
        self.context = math.ceil(encoder.receptive_field / 2 / encoder.hop) + 2
        self.held: Tensor | None = None
        self.start = self.spoken = 0  # codes: where `held` begins, what was given to speak
        self.own, self.total, self.counted = own, 0.0, 0  # sums of frames, and of how many
        self.level: Any = None

    def listen(self, blocks: Iterable[Tensor]) -> Iterator[Heard]:
        """What can be said after each block."""
        device, hop = next(self.codec.parameters()).device, self.codec.encoder.hop
        for block, last in _ending(blocks):
            if block is not None:
                more = block.reshape(1, 1, -1).to(device)
                self.held = more if self.held is None else torch.cat([self.held, more], 2)
            known = self.start + (0 if self.held is None else self.held.shape[2]) // hop
            if self.held is None or (last and known == 0):
                raise BadAudio("the sound", f"ended before {hop} samples, which is the least to convert")
            ready = known if last else max(0, known - self.ahead)
            if ready > self.spoken or last:
                yield self._heard(ready, last)

    def _heard(self, ready: float, last: bool) -> Heard:
        assert self.held is not None
        encoder, whole = self.codec.encoder, last and self.start == self.spoken == 0
        options = {} if whole else self._beheld(self.held)
        indices = self.codec.quantizer.encode(encoder(self.held, **options))
        blurred = self.context if self.start else 0  # codes that would have to see before what is held
        stop = indices.shape[2] if last else min(int(ready) - self.start, indices.shape[2])
        heard = Heard(indices[:, :, blurred:], self.spoken - self.start - blurred, stop - blurred, last)
        self.spoken = self.start + stop
        drop = max(0, self.spoken - self.reach - self.context - self.start)
        self.held, self.start = self.held[:, :, drop * encoder.hop :], self.start + drop
        return heard

    def _beheld(self, held: Tensor) -> dict[str, Any]:
        """What the encoder asks to know of the whole recording, as far as it has been heard."""
        encoder = self.codec.encoder
        if isinstance(encoder, MelEncoder) and encoder.remove_mean:
            frames, per_code = encoder.frames(held), encoder.hop // encoder.features.hop
            # All but the latest frames, which see beyond the end, and each of them once.
            fresh = frames[:, :, self.counted - self.start * per_code : frames.shape[2] - 2].double()
            if fresh.shape[2]:
                self.total = self.total + fresh.sum(2, keepdim=True)
                self.counted += fresh.shape[2]
            return {"mean": ((self.total + self.own) / (self.counted + OWN)).float()}
        if isinstance(encoder, (ZeroSpeechEncoder, VQCPCEncoder)):
            now, was = encoder.features.level(held), self.level or encoder.features.level(held)
            self.level = type(now)(torch.maximum(now.peak, was.peak), torch.maximum(now.loudest, was.loudest))
            return {"level": self.level}
        return {}


@torch.no_grad()
def own_mean(codec: Codec, *, voices: int = 3) -> Tensor:
    """The mean frame (1, bands, 1), as the mel encoder takes it, of random codes in some of the voices.

    A speaker of whom nothing was heard yet is nearer to it than to the mean of a few frames.
    """
    encoder, quantizer = codec.encoder, codec.quantizer
    assert isinstance(encoder, MelEncoder)
    codes = 200 if isinstance(codec.decoder, SpectralDecoder) else 25  # others take their time
    noise = torch.Generator().manual_seed(0)
    drawn = torch.randint(quantizer.codebook_size, (1, quantizer.num_codebooks, codes), generator=noise)
    known = codec.decoder.speakers[:voices] or (None,)
    with evaluating(codec):
        vectors = quantizer.decode(drawn.to(next(codec.parameters()).device))
        spoken = [codec.decoder.generate(vectors, speaker=speaker, seed=0) for speaker in known]
    return encoder.frames(torch.cat(spoken, 2)).double().mean(2, keepdim=True)


def _speak(codec: Codec, heard: Iterable[Heard], options: dict[str, Any]) -> Iterator[Tensor]:
    """Sound (1, 1, n) by the spectral decoder, which plans anew with every block what is yet to be spoken."""
    decoder = codec.decoder
    assert isinstance(decoder, SpectralDecoder)
    voice = decoder.voice(options["speaker"])
    mouth = Mouth(decoder, options.get("seed", 0))
    for now in heard:
        plan = decoder.plan(codec.quantizer.decode(now.indices), voice.expand(1, -1))
        said = mouth.say(plan.frames.cut(now.first * decoder.up, now.stop * decoder.up), now.last)
        if said is not None:
            yield said.clamp(-1, 1)


class Mouth:
    """`SourceFilter.stream`, for frames of which it is known in time whether they are the last."""

    def __init__(self, decoder: SpectralDecoder, seed: int) -> None:
        """At the first frame; ``seed`` of the noise."""
        self.synthesis, self.seed = decoder.synthesis, seed
        self.held: Frames | None = None
        self.start = self.spoken = 0
        self.phase: Tensor | None = None

    def say(self, frames: Frames, last: bool) -> Tensor | None:
        """(1, 1, n) samples that ``frames`` and those before make certain; None if there are none."""
        held = frames if self.held is None else self.held.then(frames)
        hop, ready = self.synthesis.hop, self.start + held.pitch.shape[1] - (0 if last else HELD)
        self.held = held
        if ready <= self.spoken:
            return None
        wave = self.synthesis(held, phase=self.phase, start=self.start, seed=self.seed)
        said = wave[..., (self.spoken - self.start) * hop : (ready - self.start) * hop]
        keep = max(self.start, ready - 7)
        self.phase = self.synthesis.advance(held.pitch[:, : keep - self.start + 1], self.phase)
        self.held, self.start, self.spoken = held.cut(keep - self.start), keep, ready
        return said


def _speak_codes(codec: Codec, heard: Iterable[Heard], options: dict[str, Any]) -> Iterator[Tensor]:
    """Sound (1, 1, n) by a decoder that keeps its own past: every code as it stood when it was due."""
    assert isinstance(codec.decoder, Streaming)
    due = (codec.quantizer.decode(now.indices[:, :, now.first : now.stop]) for now in heard)
    yield from codec.decoder.stream((piece for piece in due if piece.shape[2]), **options)


def _ending(blocks: Iterable[Tensor]) -> Iterator[tuple[Tensor | None, bool]]:
    """Every block as soon as it comes, then None for the end."""
    for block in blocks:
        yield block, False
    yield None, True
