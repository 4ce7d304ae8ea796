"""Units without a network: k-means of MFCC or log-mel frames, to be scored like any other units.

The features come every 10 ms. Two neighbours are averaged, so that unit i stands for the 20 ms from
i / 50 s on, as the shipped codec's do. Features are taken as they are, or with the mean and deviation of
each recording removed ("normalised"), which takes away much of the voice and its loudness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from speechvq.quantize.nearest import nearest
from speechvq.quantize.start import Start, fit
from speechvq.score.streams import Stream
from speechvq.speech.audio import read_audio
from speechvq.speech.features import MFCC, LogMel
from speechvq.store.alignments import Interval
from speechvq.store.manifest import Entry

RATE = 50.0


@dataclass(frozen=True)
class Baseline:
    """One way to have units without training a network."""

    features: str
    """"mfcc" (13 cepstra with first and second differences) or "log-mel" (80 bands)."""
    normalised: bool
    """Whether the mean and the deviation of each recording are removed, dimension by dimension."""

    @property
    def name(self) -> str:
        """As in the table."""
        return f"k-means, {self.features}{', normalised' if self.normalised else ''}"

    @property
    def way(self) -> str:
        """As in a command or the name of a file."""
        return f"{self.features}{'-normalised' if self.normalised else ''}"


BASELINES = tuple(Baseline(name, normalised) for name in ("mfcc", "log-mel") for normalised in (False, True))


def frames(baseline: Baseline, entries: Sequence[Entry]) -> list[Tensor]:
    """(T, D) float32 features of each recording, 50 a second."""
    measure = MFCC() if baseline.features == "mfcc" else LogMel()
    found = []
    for entry in tqdm(entries, desc=baseline.name, leave=False, disable=None):
        wave = read_audio(entry.path, start=entry.start, duration=entry.duration)
        x_TD = measure(wave[None])[0].T
        if baseline.normalised:
            x_TD = (x_TD - x_TD.mean(0)) / x_TD.std(0).clamp(min=1e-3)
        T = len(x_TD) // 2
        found.append(x_TD[: 2 * T].reshape(T, 2, -1).mean(1))
    return found


def clusters(train: Sequence[Tensor], size: int, *, seed: int = 0) -> Tensor:
    """(size, D) means of all frames: 50 Lloyd iterations on at most 256 frames a mean, drawn at random."""
    start = Start(by="kmeans", per_code=256, iterations=50)
    return fit(start, torch.cat(list(train)), size, generator=torch.Generator().manual_seed(seed))


def streams(
    found: Sequence[Tensor],
    codes_KD: Tensor,
    entries: Sequence[Entry],
    phones: Mapping[int, tuple[Interval, ...]],
) -> list[Stream]:
    """Each recording's nearest means, with its vectors before and after."""
    made = []
    for index, (x_TD, entry) in enumerate(zip(found, entries, strict=True)):
        units = nearest(x_TD, codes_KD)
        made.append(
            Stream(
                f"{entry.speaker}/{entry.utterance}",
                entry.speaker,
                units[:, None].numpy(),
                frame_rate=RATE,
                seconds=entry.duration,
                phones=phones.get(index),
                codebook_size=len(codes_KD),
                latents=np.ascontiguousarray(x_TD.numpy()),
                quantized=codes_KD[units].numpy(),
            )
        )
    return made
