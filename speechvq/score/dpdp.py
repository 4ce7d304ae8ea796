"""Duration-penalised segmentation: a recording cut into few segments of one code each.

Kamper and van Niekerk (2021), "Towards unsupervised phone and word segmentation using self-supervised
vector-quantized neural networks". By dynamic programming over at most ``longest`` frames a segment,

    minimise the sum over segments of [ min over k of the sum over its frames of |z_t - e_k|²
                                        - weight (frames - 1) ]

Letters: T frames, D width, K codes, L frames of the longest segment.
"""

from dataclasses import dataclass, replace

import numpy as np

from speechvq.errors import BadSetting
from speechvq.score.codes import Run
from speechvq.score.streams import Stream

_TIE = 1e-10
"""Costs this close, relative to their size, are equal, and the longer segment is taken."""


@dataclass(frozen=True)
class Segmentation:
    """A recording cut into segments of one code each.

    Attributes:
        segments: in order, without gaps; neighbours may share a code where the longest segment ends.
        cost: the sum that was minimised.
    """

    segments: tuple[Run, ...]
    cost: float

    @property
    def mean_frames(self) -> float:
        """Frames a segment."""
        return self.segments[-1].end / len(self.segments) if self.segments else 0.0


def segment(
    vectors: np.ndarray, codes: np.ndarray, *, weight: float = 0.0, longest: int = 15
) -> Segmentation:
    """Duration-penalised segmentation, exact; of equally good ones that with long segments at the end.

    Args:
        vectors: (T, D) a recording's vectors before quantization.
        codes: (K, D) code vectors.
        weight: what each frame that continues a segment is worth, in squared distance; at least 0. It
            takes several times the mean squared quantization error to make phone-like segments.
        longest: frames that a segment may have.

    Raises:
        BadSetting: widths that differ, no code, or a setting out of range.
    """
    if vectors.ndim != 2 or codes.ndim != 2 or vectors.shape[1] != codes.shape[1] or not len(codes):
        raise BadSetting(f"vectors {vectors.shape} and codes {codes.shape} must be (T, D) and (K, D)")
    if not weight >= 0 or longest < 1:
        raise BadSetting(f"weight {weight} must be at least 0 and longest {longest} at least 1")
    costs_LT, units_LT = _windows(_distances(vectors, codes), min(longest, max(1, len(vectors))))
    costs_LT -= weight * np.arange(len(costs_LT))[:, None]
    best, steps = np.zeros(len(vectors) + 1), np.zeros(len(vectors) + 1, dtype=np.int64)
    for end in range(1, len(vectors) + 1):
        most = min(end, len(costs_LT))
        # Entry n - 1: the last segment has n frames; window costs are filed by their last frame.
        ways = costs_LT[:most, end - 1] + best[end - most : end][::-1]
        least = ways.min()
        best[end] = least
        steps[end] = np.flatnonzero(ways <= least + _TIE * max(1.0, abs(least)))[-1] + 1
    segments, end = [], len(vectors)
    while end:
        frames = int(steps[end])
        segments.append(Run((int(units_LT[frames - 1, end - 1]),), end - frames, end))
        end -= frames
    return Segmentation(tuple(reversed(segments)), float(best[-1]))


def segment_stream(stream: Stream, codes: np.ndarray, *, weight: float = 0.0, longest: int = 15) -> Stream:
    """The same recording with each frame in the unit of its segment, to be scored like any other.

    Args:
        stream: with its vectors before quantization.
        codes: (K, D) code vectors.
        weight: as in `segment`.
        longest: as in `segment`.

    Raises:
        BadSetting: the stream holds no vectors, or as `segment`.
    """
    if stream.latents is None:
        raise BadSetting(f"{stream.name} has no vectors to be segmented; encode it with vectors=True")
    found = segment(stream.latents, codes, weight=weight, longest=longest)
    units = [run.unit[0] for run in found.segments for _ in range(run.start, run.end)]
    units = np.array(units, dtype=np.int64)
    return replace(
        stream, codes=units[:, None], codebook_size=len(codes), quantized=codes[units].astype(np.float32)
    )


def _distances(x_TD: np.ndarray, codes_KD: np.ndarray) -> np.ndarray:
    """(T, K) squared distances, in double precision."""
    x_TD, codes_KD = x_TD.astype(np.float64), codes_KD.astype(np.float64)
    apart = (x_TD**2).sum(1)[:, None] + (codes_KD**2).sum(1) - 2 * x_TD @ codes_KD.T
    return np.maximum(apart, 0.0)


def _windows(distances_TK: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(L, T) least cost of one code for the n = 1 ... L frames that end with frame t, and that code."""
    T = len(distances_TK)
    costs_LT, units_LT = np.full((longest, T), np.inf), np.zeros((longest, T), dtype=np.int64)
    sums_TK = distances_TK.copy()  # row i: over the n frames from i
    for n in range(1, longest + 1):
        if n > 1:
            sums_TK = sums_TK[: T - n + 1]
            sums_TK += distances_TK[n - 1 :]
        units_LT[n - 1, n - 1 :] = found = sums_TK.argmin(1)
        costs_LT[n - 1, n - 1 :] = np.take_along_axis(sums_TK, found[:, None], 1)[:, 0]
    return costs_LT, units_LT
