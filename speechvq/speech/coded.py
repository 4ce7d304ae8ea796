"""Recordings as the codes of a finished codec, heard whole and once: what a prior learns from.

The codes are kept beside the manifest, in a file that is named by a digest of the manifest and of the
codec, so that another of either is heard anew. Heard whole, because a codec may take something of the
whole recording into account, such as its mean: the codes of a crop are not a crop of the codes.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from tqdm import tqdm

from speechvq.codec import Batch, Codec
from speechvq.errors import BadAudio, BadManifest, BadSetting
from speechvq.speech.audio import read_audio
from speechvq.speech.data import SpeechCorpus, SpeechDataSettings
from speechvq.speech.stream import encode_stream
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry, read_manifest

log = logging.getLogger(__name__)
BLOCK = 30.0  # seconds of a long recording that are encoded at a time


@dataclass(frozen=True)
class HeardItem:
    """A crop of one recording's codes.

    Attributes:
        codes: (n, K) int64.
        speaker: index into the voices.
    """

    codes: Tensor
    speaker: int


class HeardData(Dataset[HeardItem]):
    """Crops by (epoch, index): at a random place in training, from the beginning in validation."""

    def __init__(
        self, codes: Sequence[np.ndarray], speakers: Sequence[int], *, length: int, seed: int, random: bool
    ) -> None:
        """``codes`` are (n, K) of each recording, cut to ``length`` places at most."""
        self.codes, self.speakers, self.length = codes, speakers, length
        self.seed, self.random = seed, random

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: tuple[int, int]) -> HeardItem:
        """The crop of recording ``index`` in ``epoch``."""
        epoch, index = key
        codes, start = self.codes[index], 0
        if self.random and len(codes) > self.length:
            draw = np.random.default_rng((self.seed, epoch, index))
            start = int(draw.integers(len(codes) - self.length + 1))
        crop = codes[start : start + self.length].astype(np.int64)
        return HeardItem(torch.from_numpy(crop), self.speakers[index])

    def collate(self, items: Sequence[HeardItem]) -> Batch:
        """A `Batch` with codes (B, K, T) for a signal, T the longest item's; -1 where there are none."""
        signal = pad_sequence([item.codes for item in items], batch_first=True, padding_value=-1)
        mask = signal[:, :, 0] >= 0
        who = torch.tensor([item.speaker for item in items])
        return Batch(signal.transpose(1, 2), None if bool(mask.all()) else mask, {"speaker": who})


def open_codes(
    corpus: SpeechCorpus,
    codec: Codec,
    splits: Sequence[str],
    *,
    told: Mapping[str, Codec | None],
    voices: Sequence[str] = (),
    device: str = "cpu",
) -> dict[str, HeardData]:
    """`hear` for what trains a prior; speech is told nothing but who speaks.

    Raises:
        BadSetting: there is something in ``told``.
    """
    if told:
        raise BadSetting(f"a prior of speech cannot be told {', '.join(told)}; leave model.told out")
    return hear(corpus.settings, codec, splits, voices=voices, device=device)


def grid_of(corpus: SpeechCorpus, codec: Codec) -> tuple[int]:
    """How many codes a training crop has; held-out ones may have no more of them.

    Raises:
        BadSetting: held-out crops are longer.
    """
    settings = corpus.settings
    if settings.valid_seconds > settings.seconds:
        raise BadSetting(
            f"held-out crops of {settings.valid_seconds:g} s are longer than the {settings.seconds:g} s that "
            "places are learned of; give data.valid_seconds=data.seconds, or model.prior.grid=[]"
        )
    return (_places(settings.seconds, codec),)


def hear(
    settings: SpeechDataSettings,
    codec: Codec,
    splits: Sequence[str],
    *,
    voices: Sequence[str] = (),
    device: str = "cpu",
) -> dict[str, HeardData]:
    """The codes of the recordings of these voices in a manifest, by split.

    Args:
        settings: which manifest, how long crops are, and which voices.
        codec: finished; its mode and device stay as they are if ``device`` is where it is.
        splits: which; crops of the split train are at random places.
        voices: of the codec, in the order in which they are counted; none for all of the codec's.
        device: where to encode what was not heard before.

    Raises:
        BadManifest: the split train is asked for, and empty.
        BadAudio: a recording cannot be read, and it is not to be skipped.
    """
    asked = set(settings.speakers or codec.decoder.speakers)
    known = [e for e in read_manifest(settings.manifest) if e.speaker in codec.decoder.speakers]
    entries = [entry for entry in known if entry.split in splits]
    heard = _kept(settings, codec, entries, splits, device)
    voices, found = tuple(voices or codec.decoder.speakers), {}
    for split in splits:
        chosen = [
            (codes, voices.index(entry.speaker))
            for codes, entry in zip(heard, entries, strict=True)
            if entry.split == split and entry.speaker in asked.intersection(voices) and len(codes)
        ]
        seconds = settings.seconds if split == "train" else settings.valid_seconds
        found[split] = HeardData(
            [codes for codes, _ in chosen], [who for _, who in chosen],
            length=_places(seconds, codec), seed=settings.seed, random=split == "train",
        )  # fmt: skip
    if "train" in found and not len(found["train"]):
        raise BadManifest(
            f"{settings.manifest} has no recording of the split train by a voice that is asked for and "
            f"that the codec knows ({', '.join(codec.decoder.speakers)})"
        )
    return found


def _places(seconds: float, codec: Codec) -> int:
    return max(1, round(seconds * codec.frame_rate))


def code_file(manifest: str | Path, codec: Codec, splits: Sequence[str]) -> Path:
    """Where the codes of this manifest, as it stands, are kept."""
    manifest = Path(manifest)
    told = manifest.read_bytes() + " ".join([codec.fingerprint, *splits]).encode()
    return manifest.with_name(f"{manifest.stem}.codes-{hashlib.sha256(told).hexdigest()[:12]}.npz")


def _kept(
    settings: SpeechDataSettings, codec: Codec, entries: Sequence[Entry], splits: Sequence[str], device: str
) -> list[np.ndarray]:
    """(n, K) of each entry, read from `code_file`, or made and written there."""
    path = code_file(settings.manifest, codec, splits)
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return np.split(file["codes"], np.cumsum(file["lengths"])[:-1])
    home = next((p.device for p in codec.parameters()), torch.device("cpu"))
    codec.to(device)
    bar = tqdm(entries, "hearing recordings", leave=False, disable=None)
    made = [_codes(codec, entry, skip=settings.skip_bad) for entry in bar]
    codec.to(home)
    if made:
        try:
            with atomic(path) as temporary:
                lengths = np.array([len(codes) for codes in made])
                np.savez_compressed(temporary, lengths=lengths, codes=np.concatenate(made))
        except OSError as error:
            log.warning("the codes cannot be kept beside the manifest, for another time: %s", error)
    return made


@torch.no_grad()
def _codes(codec: Codec, entry: Entry, *, skip: bool) -> np.ndarray:
    """(n, K) of one recording, none if it is too short for any."""
    rate, depth = round(codec.rate), codec.quantizer.num_codebooks
    nothing = np.zeros((0, depth), np.int32)
    try:
        wave = read_audio(entry.path, sample_rate=rate, start=entry.start, duration=entry.duration)[None]
        codec.encoder.grid((wave.shape[2],))
    except (BadAudio, BadSetting) as error:
        if isinstance(error, BadAudio) and not skip:
            raise
        log.warning("left out: %s", error)
        return nothing
    wave = wave.to(next((p.device for p in codec.parameters()), torch.device("cpu")))
    if wave.shape[2] <= BLOCK * rate:
        indices = codec.encode(wave).indices
    else:
        indices = torch.cat(list(encode_stream(codec, wave.split(round(BLOCK * rate), dim=2))), dim=2)
    return indices[0].T.to(torch.int32).cpu().numpy()
