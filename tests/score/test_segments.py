"""Boundaries, runs and duration-penalised segmentation against known numbers and exhaustive search."""

import itertools
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.score.codes import Run
from speechvq.score.dpdp import segment, segment_stream
from speechvq.score.segments import (
    boundary_scores,
    collapse,
    phone_boundaries,
    r_value,
    run_boundaries,
    score_boundaries,
    unit_text,
)
from speechvq.score.streams import Stream
from speechvq.store.alignments import Interval


def stream(units: list[int], phones: tuple[Interval, ...] | None = None) -> Stream:
    codes = np.array(units, dtype=np.int64)[:, None]
    return Stream("s", "slt", codes, 50.0, max(1, len(units)) / 50, phones)


# -- runs ---------------------------------------------------------------------------------------


def test_runs_of_the_known_stream():
    found = collapse(stream([5, 5, 5, 2, 2, 7, 7, 7, 7, 2]))
    assert found == [Run((5,), 0, 3), Run((2,), 3, 5), Run((7,), 5, 9), Run((2,), 9, 10)]
    assert sum(run.end - run.start for run in found) / len(found) == 2.5
    assert unit_text(stream([5, 5, 5, 2, 2, 7, 7, 7, 7, 2])) == "5 2 7 2"
    assert collapse(stream([])) == []
    assert unit_text(stream([])) == ""


# -- boundaries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "recall", "over", "value"),
    [(0.358, 0.363, 0.013966, 0.451272), (0.5, 1, 1, 0.146447), (0.7, 0.6, None, 0.696714), (1, 1, 0, 1)],
)
def test_the_known_r_values(precision, recall, over, value):
    found = recall / precision - 1
    if over is not None:
        assert found == pytest.approx(over, abs=5e-7)
    assert r_value(recall, found) == pytest.approx(value, abs=5e-7)
    r1 = math.sqrt((1 - recall) ** 2 + found**2)
    r2 = (recall - 1 - found) / math.sqrt(2)
    assert r_value(recall, found) == pytest.approx(1 - (abs(r1) + abs(r2)) / 2)


def slow_hits(found: list[float], known: list[float], tolerance: float) -> int:
    """The most pairs within the tolerance, nothing used twice, by trying everything."""
    if not found:
        return 0
    best = slow_hits(found[1:], known, tolerance)
    for i, time in enumerate(known):
        if abs(time - found[0]) <= tolerance + 1e-6:
            best = max(best, 1 + slow_hits(found[1:], known[:i] + known[i + 1 :], tolerance))
    return best


times = st.lists(st.integers(0, 30), max_size=6, unique=True).map(lambda xs: [x / 100 for x in sorted(xs)])


@settings(max_examples=60, deadline=None)
@given(times, times.filter(len))
def test_hits_are_as_many_as_can_be(found, known):
    scores = score_boundaries([found], [known])
    hits = slow_hits(found, known, 0.02)
    assert scores.hits == hits
    assert scores.precision == pytest.approx(hits / len(found) if found else 0)
    assert scores.recall == pytest.approx(hits / len(known))
    if hits:
        p, r = scores.precision, scores.recall
        assert scores.f1 == pytest.approx(2 * p * r / (p + r))
        assert scores.over_segmentation == pytest.approx(r / p - 1)
    assert scores.r_value <= 1


def test_counts_of_several_recordings_are_pooled():
    scores = score_boundaries([[0.1, 0.2], [], [0.5]], [[0.12, 0.3], [0.4], [0.5]])
    assert (scores.found, scores.known, scores.hits) == (3, 4, 2)
    assert scores.precision == pytest.approx(2 / 3)
    assert scores.recall == 0.5
    assert json.loads(json.dumps(asdict(scores)))["hits"] == 2
    assert scores.table().row_count == 6
    none = score_boundaries([[]], [[0.1]])
    assert (none.precision, none.recall, none.f1, none.over_segmentation) == (0, 0, 0, -1)


def test_a_boundary_one_frame_away_is_hit_however_it_was_rounded():
    frames = np.arange(1, 400)
    for rate in (50.0, 100.0, 16000 / 320, 3 * 16.6667):
        found = (frames / rate).tolist()[::7]
        known = [time + 1 / 50 for time in found]
        assert score_boundaries([found], [known], tolerance=0.02).recall == 1
        assert score_boundaries([found], [known], tolerance=0.0199).recall == 0


def test_boundaries_of_a_recording_leave_out_its_ends():
    phones = (Interval("a", 0.0, 0.06), Interval("b", 0.06, 0.1), Interval("a", 0.14, 0.2))
    assert phone_boundaries(phones) == [0.06, 0.1, 0.14]
    assert phone_boundaries(phones[:1]) == phone_boundaries(()) == []
    speech = stream([1, 1, 1, 2, 2, 2, 2, 1, 1, 3], phones)
    assert run_boundaries(collapse(speech), 50.0) == pytest.approx([0.06, 0.14, 0.18])
    scores = boundary_scores([speech, stream([1, 2, 1])], tolerance=0.001)
    assert (scores.found, scores.known, scores.hits) == (3, 3, 2)
    whole = [[Run((4,), 0, 10)], [Run((4,), 0, 3)]]
    assert boundary_scores([speech, stream([1, 2, 1])], whole).found == 0


def test_what_cannot_be_scored_is_refused_in_words():
    with pytest.raises(BadSetting, match="as many references"):
        score_boundaries([[0.1]], [])
    with pytest.raises(BadSetting, match="no boundaries to be found"):
        boundary_scores([stream([1, 2])])
    with pytest.raises(BadSetting, match="tolerance"):
        score_boundaries([[0.1]], [[0.1]], tolerance=-1)


# -- duration-penalised segmentation ------------------------------------------------------------

KNOWN_Z = np.array([[0.0], [0.1], [0.9], [1.0], [0.05]])
KNOWN_CODES = np.array([[0.0], [1.0]])
SPLIT = (Run((0,), 0, 2), Run((1,), 2, 4), Run((0,), 4, 5))


@pytest.mark.parametrize(
    ("weight", "cost", "segments"),
    [(0, 0.0225, SPLIT), (0.5, -0.9775, SPLIT), (2, -6.1775, (Run((0,), 0, 5),))],
)
def test_the_known_segmentations(weight, cost, segments):
    found = segment(KNOWN_Z, KNOWN_CODES, weight=weight)
    assert found.cost == pytest.approx(cost, abs=1e-9)
    assert found.segments == segments


def price(z: np.ndarray, codes: np.ndarray, cuts: list[int], weight: float) -> tuple[float, list[int]]:
    """Cost and units of the segmentation at these frames, from the definition."""
    total, units = 0.0, []
    for start, end in itertools.pairwise(cuts):
        costs = [sum(float(((z[t] - code) ** 2).sum()) for t in range(start, end)) for code in codes]
        units.append(int(np.argmin(costs)))
        total += min(costs) - weight * (end - start - 1)
    return total, units


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("longest", [1, 3, 15])
def test_segmentation_is_the_cheapest_of_all(weight, longest):
    for frames in (1, 5, 9):
        z, codes = np.random.randn(frames, 2), np.random.randn(3, 2)
        found = segment(z, codes, weight=weight, longest=longest)
        best = min(
            price(z, codes, [0, *cuts, frames], weight)[0]
            for n in range(frames)
            for cuts in itertools.combinations(range(1, frames), n)
            if max(b - a for a, b in itertools.pairwise([0, *cuts, frames])) <= longest
        )
        assert found.cost == pytest.approx(best, abs=1e-9)
        cuts = [0, *(run.end for run in found.segments)]
        cost, units = price(z, codes, cuts, weight)
        assert cost == pytest.approx(best, abs=1e-9)
        assert [run.unit for run in found.segments] == [(unit,) for unit in units]
        assert cuts[-1] == frames
        assert all(a.end == b.start for a, b in itertools.pairwise(found.segments))


def test_without_weight_segments_are_the_runs_of_nearest_codes():
    z, codes = np.repeat(np.random.randn(60, 4), 3, axis=0), np.random.randn(8, 4)
    nearest = ((z[:, None] - codes) ** 2).sum(2).argmin(1)
    found = segment(z.astype(np.float32), codes, longest=200)
    assert list(found.segments) == collapse(stream(nearest.tolist()))
    assert found.mean_frames == pytest.approx(180 / len(found.segments))


def test_a_segment_ends_after_the_longest_and_weight_makes_fewer():
    still = segment(np.zeros((40, 2)), np.zeros((1, 2)), weight=1.0, longest=15)
    assert [run.end - run.start for run in still.segments] == [10, 15, 15]
    z, codes = np.random.randn(300, 4), np.random.randn(16, 4)
    counts = [len(segment(z, codes, weight=weight).segments) for weight in (0, 1, 3, 10, 1000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 20
    empty = segment(np.zeros((0, 2)), np.zeros((1, 2)))
    assert (empty.segments, empty.cost, empty.mean_frames) == ((), 0.0, 0.0)


def test_a_segmented_stream_says_its_segments_frame_by_frame():
    z, codes = np.random.randn(50, 4).astype(np.float32), np.random.randn(6, 4)
    plain = Stream("s", "slt", np.zeros((50, 1), dtype=np.int64), 50.0, 1.0, latents=z)
    made = segment_stream(plain, codes, weight=2.0)
    for run in segment(z, codes, weight=2.0).segments:
        assert made.units[run.start : run.end].tolist() == [run.unit[0]] * (run.end - run.start)
    assert made.quantized is not None
    np.testing.assert_allclose(made.quantized, codes[made.units], rtol=1e-6)
    assert (made.name, made.seconds, made.codebook_size, made.latents is z) == ("s", 1.0, 6, True)
    with pytest.raises(BadSetting, match="vectors=True"):
        segment_stream(stream([1, 2]), codes)


def test_segmentations_that_cannot_be_are_refused_in_words():
    z = np.zeros((3, 2))
    with pytest.raises(BadSetting, match=r"\(T, D\) and \(K, D\)"):
        segment(z, np.zeros((2, 3)))
    with pytest.raises(BadSetting, match="must be"):
        segment(z, np.zeros((0, 2)))
    with pytest.raises(BadSetting, match="weight"):
        segment(z, z, weight=-1)
    with pytest.raises(BadSetting, match="longest"):
        segment(z, z, longest=0)
