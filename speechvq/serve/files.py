"""One recording: to a code file, from a code file, and straight into another voice.

Sound goes through in blocks, so that memory does not grow with the recording. ``-`` as a path is
standard input (WAV or a code file) or standard output.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechvq.codec import Codec
from speechvq.errors import BadAudio, BadCodes, BadSetting, UnknownSpeaker
from speechvq.serve.bulk import STANDARD
from speechvq.speech.audio import AudioWriter, blocks
from speechvq.speech.stream import decode_stream, encode_stream
from speechvq.store.codes import StoredCodes, pack, read_codes, unpack, write_codes

BLOCK = 10.0
"""Seconds of sound, or of codes, that are worked on at a time."""


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how the decoder is to draw: what `Codec.decode` takes as options.

    Attributes:
        speaker: a name the decoder knows, the embedding (1, 256) of a reference recording, or None for
            a decoder without voices.
        seed: of everything the decoder draws.
        options: further options of this kind of decoder.
    """

    speaker: str | Tensor | None = None
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def check(self, codec: Codec) -> None:
        """Raise `UnknownSpeaker` or `BadSetting` now if the decoder cannot speak so."""
        known = codec.decoder.speakers
        if isinstance(self.speaker, str) and self.speaker not in known:
            raise UnknownSpeaker(self.speaker, list(known))
        if self.speaker is None and known:
            raise BadSetting(f"say which voice to speak in with --speaker, one of {', '.join(known)}")

    def plain(self) -> dict[str, Any]:
        """The options as `Codec.decode` takes them."""
        speaker = {} if self.speaker is None else {"speaker": self.speaker}
        return speaker | {"seed": self.seed} | self.options


def encode_file(codec: Codec, source: str, target: str, *, force: bool = False) -> None:
    """Sound file to code file.

    Raises:
        BadAudio: the sound cannot be used.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    with _local(source, ".wav") as path:
        recording = _Recording(codec, path, source)
        indices = torch.cat([part.cpu() for part in encode_stream(codec, recording)], dim=2)
        quantizer = codec.quantizer
        stored = StoredCodes(
            indices=indices,
            codebook_size=quantizer.codebook_size,
            rate=float(codec.rate),
            frame_rate=codec.frame_rate,
            size=(recording.samples,),
            fingerprint=codec.fingerprint,
        )
    if target == STANDARD:
        sys.stdout.buffer.write(pack(stored))
        sys.stdout.buffer.flush()
    else:
        write_codes(target, stored, force=force)


def decode_file(codec: Codec, source: str, target: str, *, voice: Voice, force: bool = False) -> None:
    """Code file to sound file in a voice.

    Raises:
        BadCodes: damaged, made by another codec, or not of sound.
        UnknownSpeaker: the decoder does not know the voice.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    voice.check(codec)
    if source == STANDARD:
        stored = unpack(sys.stdin.buffer.read(), source="standard input")
    else:
        stored = read_codes(source)
    stored.check(codec.fingerprint, source=source)
    if len(stored.grid) != 1 or not stored.grid[0]:
        raise BadCodes(f"{source} holds no codes of sound")
    frames = max(1, round(BLOCK * codec.frame_rate))
    device = next(codec.parameters()).device
    pieces = (piece.to(device) for piece in stored.indices.split(frames, dim=2))
    with AudioWriter(target, round(codec.rate), force=force) as writer:
        left = stored.size[0]
        for wave in decode_stream(codec, pieces, **voice.plain()):
            writer.write(wave[0, :, :left])
            left = max(0, left - wave.shape[2])


def convert_file(codec: Codec, source: str, target: str, *, voice: Voice, force: bool = False) -> None:
    """Sound file to sound file in another voice; errors as in `encode_file` and `decode_file`."""
    voice.check(codec)
    with _local(source, ".wav") as path:
        recording = _Recording(codec, path, source)
        waves = iter(decode_stream(codec, encode_stream(codec, recording), **voice.plain()))
        first = list(islice(waves, 1))  # most of what can be wrong shows before a folder is made
        with AudioWriter(target, round(codec.rate), force=force) as writer:
            for wave in chain(first, waves):
                writer.write(wave[0])


class _Recording(Iterable[Tensor]):
    """Blocks (1, 1, n) of a sound file on the codec's device, as often as they are asked for."""

    def __init__(self, codec: Codec, path: Path, name: str) -> None:
        self.codec, self.path = codec, path
        self.name = "standard input" if name == STANDARD else name
        self.samples = 0
        """Samples of the whole recording, once it has been gone through."""

    def __iter__(self) -> Iterator[Tensor]:
        device = next(self.codec.parameters()).device
        samples = 0
        try:
            for block in blocks(self.path, round(self.codec.rate), BLOCK):
                if samples == 0:
                    self.codec.encoder.grid((block.shape[1],))
                samples += block.shape[1]
                yield block[None].to(device)
        except BadAudio as error:
            raise BadAudio(self.name, error.reason) from error
        except BadSetting as error:
            raise BadAudio(self.name, f"is too short ({error})") from error
        self.samples = samples


@contextmanager
def _local(source: str, suffix: str) -> Iterator[Path]:
    """A path that can be read more than once: standard input is put into a temporary file first."""
    if source != STANDARD:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdin{suffix}"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
