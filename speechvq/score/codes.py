"""How codes are used and what they cost: usage, perplexity, entropy, bitrate.

The bitrate is that of the ZeroSpeech 2019 challenge: lines a second, times the entropy of the distinct
lines. Entropies are of single codes, without context, so a prior can do better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Run:
    """One unit held from ``start`` up to (not with) ``end``, in frames."""

    unit: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class CodeScores:
    """How a set of code streams uses its codebook.

    Attributes:
        usage: share of the codebook used at least once, in (0, 1]; the mean over codebooks.
        perplexity: exp of the entropy, in [1, codebook_size]; the mean over codebooks.
        entropy: bits per frame, of the frame's whole column of codes.
        frames_per_second: frames over seconds.
        bitrate: bit/s, ZeroSpeech 2019.
        deduplicated_bitrate: bit/s when each run of equal frames is sent once, without its duration.
        duration_bitrate: bit/s to add for the runs' durations.
    """

    usage: float
    perplexity: float
    entropy: float
    frames_per_second: float
    bitrate: float
    deduplicated_bitrate: float
    duration_bitrate: float


def usage(counts: Tensor) -> float:
    """Share of the codes in ``counts`` (codebook_size,) that occur, in [0, 1]."""
    return float((counts > 0).float().mean())


def entropy(counts: Tensor) -> float:
    """Entropy in bits of a distribution given by ``counts`` (any number of kinds,)."""
    p = counts.double()[counts > 0]
    if not len(p):
        return 0.0
    p = p / p.sum()
    return max(0.0, float(-(p * p.log2()).sum()))


def perplexity(counts: Tensor) -> float:
    """Two to the entropy of ``counts``: the number of equally used codes that would say as much."""
    return 2 ** entropy(counts)


def bitrate(lines: Tensor, seconds: float) -> float:
    """Bits per second of a stream by the ZeroSpeech 2019 rule, (N / D) H.

    Args:
        lines: (N,) codes, or (N, D) vectors of any type; distinct lines are told apart exactly.
        seconds: duration D of the recordings, by their list and not by counting frames.
    """
    if not seconds > 0:
        raise BadSetting(f"a bitrate needs a duration above 0 s, not {seconds}")
    if not len(lines):
        return 0.0
    counts = torch.unique(lines, dim=0, return_counts=True)[1]
    return len(lines) / seconds * entropy(counts)


def runs(codes: Tensor) -> list[Run]:
    """Run-length collapse of one stream.

    Args:
        codes: (T,) or (K, T) integers; a run ends where any of the K codes changes.
    """
    columns = torch.atleast_2d(codes).T
    if not len(columns):
        return []
    changes = (columns[1:] != columns[:-1]).any(1).nonzero().flatten() + 1
    edges = [0, *changes.tolist(), len(columns)]
    return [Run(tuple(columns[a].tolist()), a, b) for a, b in pairwise(edges)]


def score_codes(streams: Sequence[Tensor], seconds: Sequence[float], codebook_size: int) -> CodeScores:
    """Scores of many recordings' codes together.

    Args:
        streams: one (T,) or (K, T) integer tensor a recording, valid frames only.
        seconds: the duration of each.
        codebook_size: number of codes in each codebook.

    Raises:
        BadSetting: no streams, unequal counts, or a code outside the codebook.
    """
    if not streams or len(streams) != len(seconds):
        raise BadSetting(f"{len(streams)} code streams need as many durations, not {len(seconds)}")
    columns = [torch.atleast_2d(stream).T.long().cpu() for stream in streams]
    lines, total = torch.cat(columns), math.fsum(seconds)
    if not len(lines) or not total > 0:
        raise BadSetting("the code streams are empty; give at least one frame and its duration")
    if int(lines.min()) < 0 or int(lines.max()) >= codebook_size:
        raise BadSetting(
            f"codes {int(lines.min())} to {int(lines.max())} do not fit a codebook of {codebook_size}"
        )
    counts = [torch.bincount(column, minlength=codebook_size) for column in lines.T]
    collapsed = [run for stream in streams for run in runs(stream.cpu())]
    durations = torch.tensor([run.end - run.start for run in collapsed])
    return CodeScores(
        usage=sum(map(usage, counts)) / len(counts),
        perplexity=sum(map(perplexity, counts)) / len(counts),
        entropy=entropy(torch.unique(lines, dim=0, return_counts=True)[1]),
        frames_per_second=len(lines) / total,
        bitrate=bitrate(lines, total),
        deduplicated_bitrate=bitrate(torch.tensor([run.unit for run in collapsed]), total),
        duration_bitrate=bitrate(durations, total),
    )
