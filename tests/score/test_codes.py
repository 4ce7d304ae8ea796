"""Code use and bitrate against hand-made numbers and slow twins."""

import math
from collections import Counter

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.score.codes import Run, bitrate, entropy, perplexity, runs, score_codes, usage


def test_zerospeech_bitrate_of_known_counts():
    lines = torch.tensor([0] * 50 + [1] * 25 + [2] * 25)
    assert bitrate(lines, 2.0) == pytest.approx(75.0)
    assert entropy(torch.tensor([50, 25, 25])) == pytest.approx(1.5)
    assert perplexity(torch.tensor([50, 25, 25, 0])) == pytest.approx(2**1.5)
    assert usage(torch.tensor([50, 25, 25, 0])) == 0.75


def test_bitrate_of_vectors_tells_them_apart_exactly():
    lines = torch.tensor([[0.1, 0.2], [0.1, 0.2], [0.1, 0.20001], [0.3, 0.0]])
    assert bitrate(lines, 1.0) == pytest.approx(4 * 1.5)
    assert bitrate(torch.randn(1024, 3), 1024 / 50) == pytest.approx(50 * math.log2(1024))


@pytest.mark.parametrize(("size", "rate", "bits"), [(512, 50, 450), (128, 25, 175), (4096, 50, 600)])
def test_uniform_codes_cost_log2_of_the_codebook(size, rate, bits):
    scores = score_codes([torch.arange(size)], [size / rate], size)
    assert scores.bitrate == pytest.approx(bits)
    assert scores.usage == 1.0
    assert scores.perplexity == pytest.approx(size)
    assert scores.frames_per_second == pytest.approx(rate)


def test_runs_of_the_known_stream():
    found = runs(torch.tensor([5, 5, 5, 2, 2, 7, 7, 7, 7, 2]))
    assert found == [Run((5,), 0, 3), Run((2,), 3, 5), Run((7,), 5, 9), Run((2,), 9, 10)]
    assert runs(torch.zeros(0, dtype=torch.int64)) == []
    assert [r.unit for r in runs(torch.tensor([[1, 1, 1], [4, 4, 5]]))] == [(1, 4), (1, 5)]


def _slow(columns: list[tuple[int, ...]], seconds: float) -> float:
    counts = Counter(columns)
    total = sum(counts.values())
    bits = -sum(n / total * math.log2(n / total) for n in counts.values())
    return total / seconds * bits


def test_scores_agree_with_lists_over_several_streams_and_codebooks():
    streams = [torch.randint(0, 4, (2, length)) for length in (7, 40, 1, 13)]
    scores = score_codes(streams, [1.0, 2.0, 0.5, 0.7], 6)
    columns = [tuple(c) for s in streams for c in s.T.tolist()]
    kept, lengths = [], []
    for stream in streams:
        last = None
        for column in map(tuple, stream.T.tolist()):
            if column == last:
                lengths[-1] += 1
            else:
                kept.append(column)
                lengths.append(1)
            last = column
    assert scores.bitrate == pytest.approx(_slow(columns, 4.2))
    assert scores.deduplicated_bitrate == pytest.approx(_slow(kept, 4.2))
    assert scores.duration_bitrate == pytest.approx(_slow([(n,) for n in lengths], 4.2))
    assert scores.usage == pytest.approx(4 / 6)


def test_one_code_throughout_costs_nothing():
    scores = score_codes([torch.zeros(100, dtype=torch.int64)], [2.0], 8)
    assert (scores.bitrate, scores.deduplicated_bitrate, scores.perplexity) == (0.0, 0.0, 1.0)


def test_impossible_streams_are_refused_in_words():
    codes = torch.tensor([0, 1, 9])
    with pytest.raises(BadSetting, match="do not fit a codebook of 8"):
        score_codes([codes], [1.0], 8)
    with pytest.raises(BadSetting, match="do not fit"):
        score_codes([torch.tensor([-1, 2])], [1.0], 8)
    with pytest.raises(BadSetting, match="as many durations"):
        score_codes([codes], [], 10)
    with pytest.raises(BadSetting, match="empty"):
        score_codes([torch.zeros(0, dtype=torch.int64)], [1.0], 10)
    with pytest.raises(BadSetting, match="above 0 s"):
        bitrate(codes, 0.0)
