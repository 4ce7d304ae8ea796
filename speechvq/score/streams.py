"""Recordings as streams of codes, with the phones that were spoken: what every unit score starts from.

A `Stream` is one recording; `encode_streams` makes them with a codec. Streams of any other origin
(k-means, a code file, another toolkit) are made by hand and scored the same way.
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from speechvq.codec import Codec, Encoder
from speechvq.errors import BadSetting
from speechvq.quantize.base import Quantizer
from speechvq.speech.audio import Checks, read_audio
from speechvq.store.alignments import Interval, phones_at
from speechvq.store.manifest import Entry

log = logging.getLogger(__name__)
_LARGEST_ID = 2**63


@dataclass(frozen=True, eq=False)
class Stream:
    """The codes of one recording (or part of one), frame by frame.

    Attributes:
        name: of the recording; unique among the streams that are scored together.
        speaker: the voice's name.
        codes: (T, K) integers, K codebooks.
        frame_rate: frames per second; frame i stands for the time from i to i + 1 over it.
        seconds: the recording's duration by its list, not by its frames.
        phones: what was spoken when, in seconds from the start of this recording; None: not known.
        codebook_size: codes in each codebook; needed to tell joint codes of K > 1 apart.
        latents: (T, D) float32, the encoder's vectors before quantization, if they were asked for.
        quantized: (T, D) float32, the vectors that the codes stand for, if they were asked for.

    Raises:
        BadSetting: a shape, a rate or a duration that cannot be.
    """

    name: str
    speaker: str
    codes: np.ndarray
    frame_rate: float
    seconds: float
    phones: tuple[Interval, ...] | None = None
    codebook_size: int | None = None
    latents: np.ndarray | None = None
    quantized: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or not self.codes.shape[1] or self.codes.dtype.kind not in "iu":
            what = f"{self.codes.dtype} of shape {self.codes.shape}"
            raise BadSetting(f"the codes of {self.name} must be integers of shape (T, K), not {what}")
        if not self.frame_rate > 0 or not self.seconds > 0:
            raise BadSetting(
                f"{self.name} needs a frame rate and a duration above 0, "
                f"not {self.frame_rate} Hz and {self.seconds} s"
            )
        for name in ("latents", "quantized"):
            vectors = getattr(self, name)
            if vectors is not None and (vectors.ndim != 2 or len(vectors) != len(self.codes)):
                raise BadSetting(f"{name} of {self.name} must be ({len(self)}, D), not {vectors.shape}")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def units(self) -> np.ndarray:
        """(T,) int64, one id a frame: the code, or for K > 1 the K codes read as digits of one number.

        Raises:
            BadSetting: K > 1 and no codebook size, or more joint codes than an integer can number.
        """
        codes = self.codes.astype(np.int64)
        if codes.shape[1] == 1:
            return codes[:, 0]
        size, depth = self.codebook_size, codes.shape[1]
        if size is None:
            raise BadSetting(f"joint units of {depth} codebooks need the codebook size of {self.name}")
        if size**depth > _LARGEST_ID:
            raise BadSetting(
                f"{depth} codebooks of {size} make too many joint units; score fewer of them (codes[:, :1])"
            )
        return codes @ size ** np.arange(depth - 1, -1, -1, dtype=np.int64)

    def phone_frames(self) -> list[str | None]:
        """The phone at the centre of each frame; None where nothing is known to be spoken."""
        if self.phones is None:
            return [None] * len(self)
        return phones_at(self.phones, self.frame_rate, len(self))


def encode_streams(
    codec: Codec,
    entries: Sequence[Entry],
    alignments: Mapping[int, tuple[Interval, ...]] | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: bool = True,
    vectors: bool = False,
    batch: int = 1,
) -> list[Stream]:
    """Encode recordings; the streams are in the order of the entries.

    Args:
        codec: of speech; neither its mode nor its device is changed.
        entries: the recordings.
        alignments: index of an entry to its phones, in seconds from the start of the entry's part.
        device: where to encode.
        progress: show a bar on a terminal.
        vectors: keep each frame's vector before and after quantization.
        batch: recordings encoded together, padded to the longest. 1 gives exactly the codes of
            `Codec.encode`; with more, the last frames of a padded recording see the padding.

    Returns:
        One stream an entry; recordings too short for a single code are left out with a warning.

    Raises:
        BadAudio: a recording cannot be read.
        BadSetting: the codec is not of speech.
    """
    if codec.room != "speech":
        raise BadSetting(f"unit scores need a codec of speech; this one is of {codec.room}")
    if batch < 1:
        raise BadSetting(f"batch is {batch}; at least one recording is encoded at a time")
    # Copies, so that the caller's codec stays in its mode and on its device.
    encoder = copy.deepcopy(codec.encoder).to(device).eval()
    quantizer = copy.deepcopy(codec.quantizer).to(device).eval()
    waves = _waves(encoder, entries, round(codec.rate))
    names, found = _names(entries), []
    with tqdm(total=len(entries), desc="encoding", leave=False, disable=None if progress else True) as bar:
        for group in _grouped(waves, batch):
            for index, frames in _encoded(encoder, quantizer, group, vectors):
                stream = Stream(
                    names[index],
                    entries[index].speaker,
                    frames.codes,
                    frame_rate=codec.frame_rate,
                    seconds=entries[index].duration,
                    phones=None if alignments is None else alignments.get(index),
                    codebook_size=quantizer.codebook_size,
                    latents=frames.before,
                    quantized=frames.after,
                )
                found.append(stream)
            bar.update(group[-1][0] + 1 - bar.n)
    return found


def code_vectors(codec: Codec) -> np.ndarray:
    """(codebook_size, D) float32: the vector that each code of the (only) codebook stands for.

    Raises:
        BadSetting: the codec has several codebooks, so that no code has a vector of its own.
    """
    quantizer = codec.quantizer
    if quantizer.num_codebooks != 1:
        raise BadSetting(
            f"the vectors of single codes need one codebook; this codec has {quantizer.num_codebooks}"
        )
    device = next((tensor.device for tensor in codec.state_dict().values()), torch.device("cpu"))
    indices = torch.arange(quantizer.codebook_size, device=device)[None, None]
    with torch.no_grad():
        return quantizer.decode(indices)[0].T.float().cpu().numpy()


def _names(entries: Sequence[Entry]) -> list[str]:
    """Speaker/utterance; recordings of which there are several so named also get a number."""
    seen: dict[str, int] = {}
    names = []
    for entry in entries:
        name = f"{entry.speaker}/{entry.utterance}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _waves(encoder: Encoder, entries: Sequence[Entry], rate: int) -> Iterator[tuple[int, Tensor]]:
    """(index, samples (L,)) of each recording that is long enough for a code."""
    for index, entry in enumerate(entries):
        wave = read_audio(
            entry.path, sample_rate=rate, start=entry.start, duration=entry.duration,
            checks=Checks(silence=False),
        )[0]  # fmt: skip
        try:
            encoder.grid((len(wave),))
        except BadSetting as error:
            log.warning("%s is left out: %s", entry.path, error)
            continue
        yield index, wave


def _grouped(waves: Iterator[tuple[int, Tensor]], size: int) -> Iterator[list[tuple[int, Tensor]]]:
    group: list[tuple[int, Tensor]] = []
    for item in waves:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


class _Frames(NamedTuple):
    """One recording's codes (T, K) and, if asked for, vectors (T, D) before and after quantization."""

    codes: np.ndarray
    before: np.ndarray | None
    after: np.ndarray | None


@torch.no_grad()
def _encoded(
    encoder: Encoder, quantizer: Quantizer, group: Sequence[tuple[int, Tensor]], vectors: bool
) -> Iterator[tuple[int, _Frames]]:
    """(index, frames) of each recording of a batch."""
    device = next((p.device for p in encoder.state_dict().values()), torch.device("cpu"))
    lengths = torch.tensor([len(wave) for _, wave in group])
    signal = pad_sequence([wave for _, wave in group], batch_first=True)[:, None].to(device)
    mask = torch.arange(signal.shape[2]) < lengths[:, None]
    z_BDT = encoder(signal, None if bool(mask.all()) else mask.to(device))
    indices_BKT = quantizer.encode(z_BDT)
    after_BDT = quantizer.decode(indices_BKT) if vectors else None
    for row, (index, wave) in enumerate(group):
        frames = encoder.grid((len(wave),))[0]
        codes = _frames_first(indices_BKT[row], frames)
        before = _frames_first(z_BDT[row].float(), frames) if vectors else None
        after = None if after_BDT is None else _frames_first(after_BDT[row].float(), frames)
        yield index, _Frames(codes, before, after)


def _frames_first(x_DT: Tensor, frames: int) -> np.ndarray:
    """The first frames of (D, T), as an array (frames, D) of its own."""
    return x_DT[:, :frames].T.contiguous().cpu().numpy()
