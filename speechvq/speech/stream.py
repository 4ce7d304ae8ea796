"""Recordings of any length through a codec in constant memory, without a seam.

A piece is worked on together with as many samples (or codes) on either side as its result can see, so
that the pieces together are what the whole would be.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from speechvq.codec import Codec, Codes
from speechvq.speech.decibels import DecibelMel, Level
from speechvq.speech.encoder import MelEncoder
from speechvq.speech.pieces import marked
from speechvq.speech.zerospeech import VQCPCEncoder, ZeroSpeechEncoder


@runtime_checkable
class Streaming(Protocol):
    """A decoder that speaks while the codes still come."""

    def stream(self, vectors: Iterable[Tensor], **options: object) -> Iterator[Tensor]:
        """Pieces (B, D, t) of vectors to pieces (B, 1, n) of a waveform."""
        ...


@torch.no_grad()
def encode_stream(codec: Codec, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Blocks (1, 1, n) of one recording to pieces (1, K, t) of its indices.

    ``blocks`` is gone through twice when the encoder must know something of the whole recording (its
    mean, its level), so it must be something that can be iterated again, such as a list or a reader of
    a file.
    """
    encoder = codec.encoder
    context = math.ceil(encoder.receptive_field / encoder.hop) + 1
    options = {}
    if isinstance(encoder, MelEncoder) and encoder.remove_mean:
        options["mean"] = _mean(encoder, blocks)
    if isinstance(encoder, (ZeroSpeechEncoder, VQCPCEncoder)):
        options["level"] = _level(encoder.features, blocks)
    for window, first, stop in _windows(blocks, encoder.hop, context):
        yield codec.quantizer.encode(encoder(window, **options))[..., first:stop]


@torch.no_grad()
def decode_stream(codec: Codec, indices: Iterable[Tensor], **options: object) -> Iterator[Tensor]:
    """Pieces (1, K, t) of indices to pieces (1, 1, n) of the waveform; ``options`` as `Codec.decode`."""
    if isinstance(codec.decoder, Streaming):
        yield from codec.decoder.stream((codec.quantizer.decode(piece) for piece in indices), **options)
    else:
        yield codec.decode(Codes(torch.cat(list(indices), 2)), **options)


def _mean(encoder: MelEncoder, blocks: Iterable[Tensor]) -> Tensor:
    """What `MelEncoder.mean` would give for the whole recording."""
    total, count = torch.zeros(()), 0
    hop, context = 160, 8
    for window, first, stop in _windows(blocks, hop, context):
        frames = encoder.frames(window)[..., first:stop].double()
        total = total + frames.sum(2, keepdim=True)
        count += frames.shape[2]
    return (total / max(1, count)).float()


def _level(features: DecibelMel, blocks: Iterable[Tensor]) -> Level:
    """What `DecibelMel.level` would give for the whole recording."""
    peak, loudest = torch.zeros(1), torch.zeros(1)
    for window, first, stop in _windows(blocks, features.hop, 8):
        if features.fits(window.shape[-1]):
            mel = features.magnitudes(window)[..., first:stop]
            peak = torch.maximum(peak.to(window.device), window.abs().amax((1, 2)))
            loudest = torch.maximum(loudest.to(window.device), mel.amax((1, 2)))
    return Level(peak, loudest)


def _windows(blocks: Iterable[Tensor], hop: int, context: int) -> Iterator[tuple[Tensor, int, int | None]]:
    """Overlapping windows: (samples, first hop, stop hop) of which the hops from first to stop are new."""
    held: Tensor | None = None
    done = 0
    for block, last in marked(blocks):
        held = block if held is None else torch.cat([held, block], -1)
        ready = held.shape[-1] // hop - (0 if last else context)
        if last:
            yield held, done, None
        elif ready > done:
            yield held, done, ready
            drop = max(0, ready - context)
            held, done = held[..., drop * hop :], ready - drop
