"""Language statistics of units, their use by speakers, and two runs compared: against lists and loops."""

import io
import itertools
import json
import math
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from speechvq.errors import BadSetting
from speechvq.score.codes import score_codes
from speechvq.score.language import (
    code_scores,
    durations,
    ngram_table,
    ngrams,
    phone_durations,
    transitions,
    unit_durations,
    unit_sequences,
    zipf,
)
from speechvq.score.streams import Stream
from speechvq.score.voices import speaker_use, stability
from speechvq.store.alignments import Interval


def stream(units: object, name: str = "s", speaker: str = "slt", **named: object) -> Stream:
    codes = np.asarray(units, dtype=np.int64).reshape(-1, 1)
    return Stream(name, speaker, codes, 50.0, max(1, len(codes)) / 50, **named)  # type: ignore[arg-type]


def sticky(frames: int, kinds: int = 5) -> np.ndarray:
    """Units that are often said twice, named far apart."""
    return 1000 * np.repeat(np.random.randint(0, kinds, frames), 2)[:frames]


def bits(counts: Counter) -> float:
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values())


# -- n-grams ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=4), st.integers(1, 4))
def test_ngrams_agree_with_lists(sequences, order):
    counts = Counter(tuple(s[i : i + order]) for s in sequences for i in range(len(s) - order + 1))
    arrays = [np.array(s, dtype=np.int64) for s in sequences]
    if not counts:
        with pytest.raises(BadSetting, match=f"no recording has {order} units"):
            ngrams(arrays, order)
        return
    found = ngrams(arrays, order, top=1000)
    assert dict(found.top) == dict(counts)
    assert [c for _, c in found.top] == sorted(counts.values(), reverse=True)
    assert (found.total, found.distinct) == (sum(counts.values()), len(counts))
    assert found.entropy == pytest.approx(bits(counts), abs=1e-9)
    conditional = 0.0
    for context in {gram[:-1] for gram in counts}:
        after = Counter({gram[-1]: c for gram, c in counts.items() if gram[:-1] == context})
        conditional += sum(after.values()) / found.total * bits(after)
    assert found.conditional_entropy == pytest.approx(conditional, abs=1e-9)


def test_ngrams_with_and_without_repeats():
    streams = [stream([5, 5, 5, 2, 2, 7, 7, 7, 7, 2]), stream([7])]
    assert [s.tolist() for s in unit_sequences(streams, repeats=False)] == [[5, 2, 7, 2], [7]]
    frames = ngrams(unit_sequences(streams), 2)
    assert frames.top[0] == ((7, 7), 3)
    assert frames.total == 9
    runs = ngrams(unit_sequences(streams, repeats=False), 2)
    assert runs.top == (((5, 2), 1), ((2, 7), 1), ((7, 2), 1))
    assert all(a != b for (a, b), _ in runs.top)


def test_entropies_of_a_repeating_and_of_a_random_language():
    cycle = [np.arange(3000) % 8]
    assert ngrams(cycle, 1).entropy == pytest.approx(3, abs=1e-3)
    assert ngrams(cycle, 3).conditional_entropy == pytest.approx(0, abs=1e-6)
    free = [np.random.randint(0, 4, 20000)]
    assert ngrams(free, 2).conditional_entropy == pytest.approx(2, abs=0.01)
    wide = [np.random.randint(0, 2**60, 200)]  # ids of joint codes are large
    assert ngrams(wide, 5).distinct == 196


def test_transitions_agree_with_a_loop():
    sequences = [sticky(60), sticky(30), sticky(1), sticky(0)]
    units = [3000, 0, 2000, 77]
    counts = Counter(pair for s in sequences for pair in itertools.pairwise(s.tolist()))
    assert transitions(sequences, units).tolist() == [[counts[a, b] for b in units] for a in units]
    runs = unit_sequences([stream(s) for s in sequences], repeats=False)
    assert not transitions(runs, units).diagonal().any()
    assert transitions(sequences, []).shape == (0, 0)


# -- Zipf and durations -------------------------------------------------------------------------


def test_zipf_finds_the_slope_of_a_power_law():
    counts = [round(50000 * rank**-1.3) for rank in range(1, 40)]
    found = zipf([np.repeat(np.random.permutation(39), counts)])
    assert found.slope == pytest.approx(-1.3, abs=0.01)
    assert 10**found.intercept == pytest.approx(50000, rel=0.02)
    assert found.r2 > 0.999
    assert [count for _, count in found.ranks] == counts
    x, y = np.log10(range(1, 40)), np.log10(counts)
    assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(x, y, 1)))
    assert zipf([np.array([4, 4])]).slope == 0
    assert zipf([np.arange(9)]).slope == pytest.approx(0)
    with pytest.raises(BadSetting, match="no units"):
        zipf([])


def test_durations_of_units_and_phones():
    phones = (Interval("a", 0.0, 0.06), Interval("b", 0.06, 0.27), Interval("c", 0.27, 5.0))
    streams = [stream([5, 5, 5, 2, 2, 7, 7, 7, 7, 2]), stream([1] * 60, phones=phones)]
    units = unit_durations(streams, bins=6)
    assert units.segments == 5
    assert units.counts == (0, 1, 1, 1, 1, 1)  # 20, 40, 60, 80 and 1200 ms
    lengths = [60, 40, 80, 20, 1200]
    about = (float(np.mean(lengths)), 60.0, float(np.std(lengths)))
    assert (units.mean, units.median, units.deviation) == pytest.approx(about)
    spoken = phone_durations(streams)
    assert spoken.segments == 3
    assert sum(spoken.counts) == 3
    assert (spoken.counts[3], spoken.counts[10], spoken.counts[-1]) == (1, 1, 1)
    exact = durations([n * 1000 / 30 for n in range(12)], width=1000 / 30, bins=12)
    assert exact.counts == (1,) * 12
    with pytest.raises(BadSetting, match="make no histogram"):
        durations([])


def test_code_scores_are_those_of_the_codes():
    import torch

    joint = np.random.randint(0, 6, (50, 2))
    streams = [Stream(str(i), "slt", joint, 25.0, 2.1) for i in range(3)]
    expected = score_codes([torch.from_numpy(joint.T.copy())] * 3, [2.1] * 3, 6)
    assert code_scores(streams, 6) == expected
    known = stream([0] * 50 + [1] * 25 + [2] * 25)
    assert code_scores([known], 3).bitrate == pytest.approx(75)


# -- speakers -----------------------------------------------------------------------------------


def test_speaker_use_agrees_with_loops_and_scipy():
    from scipy.stats import chi2_contingency

    streams = [
        stream(sticky(40, 3 + speaker), f"{speaker}-{i}", f"v{speaker}")
        for speaker in range(3)
        for i in range(4)
    ]
    found = speaker_use(streams)
    both = Counter((s.speaker, u) for s in streams for u in s.units.tolist())
    speakers, units = Counter(s for s, _ in both.elements()), Counter(u for _, u in both.elements())
    n = sum(both.values())
    expected = {(s, u): speakers[s] * units[u] / n for s in speakers for u in units}
    chi2 = sum((both[key] - e) ** 2 / e for key, e in expected.items())
    assert found.chi2 == pytest.approx(chi2)
    assert found.cramers_v == pytest.approx(math.sqrt(chi2 / n / min(2, len(units) - 1)))
    information = sum(c / n * math.log2(c / expected[key]) for key, c in both.items())
    assert found.information == pytest.approx(information)
    assert found.speaker_entropy == pytest.approx(bits(speakers))
    table = [[both[s, u] for u in units] for s in speakers]
    theirs = chi2_contingency(table, correction=False)
    assert (found.chi2, found.p, found.freedom) == pytest.approx((theirs[0], theirs[1], theirs[2]))
    assert [v.speaker for v in found.voices] == ["v0", "v1", "v2"]
    for voice in found.voices:
        own = Counter({u: c for (s, u), c in both.items() if s == voice.speaker})
        assert (voice.recordings, voice.frames, voice.kinds) == (4, 160, len(own))
        assert voice.perplexity == pytest.approx(2 ** bits(own))
    shared = sum(v.information * v.frames / n for v in found.voices)
    assert shared == pytest.approx(found.information)


def test_chance_is_what_recordings_dealt_at_random_tell():
    alike = [stream(sticky(30, 60), f"{i}", f"v{i % 4}") for i in range(24)]
    found = speaker_use(alike, permutations=50)
    assert found.by_chance is not None
    assert found.above_chance is not None
    assert found.information > 0.2  # of few recordings, without any difference between the speakers
    assert abs(found.above_chance) < 0.2 * found.information
    apart = [stream(sticky(30, 8) + i % 4, f"{i}", f"v{i % 4}") for i in range(24)]
    told = speaker_use(apart, permutations=20)
    assert told.information == pytest.approx(2) == told.speaker_entropy
    assert told.cramers_v == pytest.approx(1)
    assert told.above_chance is not None
    assert told.above_chance > 0.8
    assert speaker_use(alike, permutations=5, seed=3) == speaker_use(alike, permutations=5, seed=3)


def test_one_speaker_and_none():
    alone = speaker_use([stream([1, 2, 3])])
    assert (alone.chi2, alone.p, alone.cramers_v, alone.information) == (0, 1, 0, 0)
    with pytest.raises(BadSetting, match="no frames"):
        speaker_use([stream([])])


# -- two runs -----------------------------------------------------------------------------------


def test_two_runs_that_differ_in_names_only_are_the_same():
    first = [stream(sticky(50), f"{i}") for i in range(6)]
    names = np.random.permutation(6000)
    second = [stream(names[s.units][: 50 - i], s.name) for i, s in enumerate(first)]
    found = stability(first, [*reversed(second), stream([1], "another")])
    assert (found.recordings, found.frames) == (6, 300 - 15)
    assert (found.ami, found.ari, found.v_measure, found.one_to_one) == pytest.approx((1, 1, 1, 1))


def test_two_runs_by_chance_have_nothing_in_common():
    first = [stream(np.random.randint(0, 40, 400), f"{i}") for i in range(3)]
    second = [stream(np.random.randint(0, 40, 400), f"{i}") for i in range(3)]
    found = stability(first, second)
    assert abs(found.ami) < 0.03
    assert abs(found.ari) < 0.01
    assert found.v_measure > 0.1  # which is why AMI is the one to look at
    with pytest.raises(BadSetting, match="no frame of the same recording"):
        stability(first, [stream([1], "another")])
    other = Stream("0", "slt", np.zeros((9, 1), dtype=np.int64), 25.0, 0.36)
    with pytest.raises(BadSetting, match="50 and 25 frames a second"):
        stability(first, [other])


def test_results_are_tables_and_json():
    streams = [stream(sticky(40), f"{i}", f"v{i % 2}") for i in range(4)]
    console = Console(width=100, file=io.StringIO(), record=True)
    use, runs = speaker_use(streams, permutations=2), stability(streams, streams)
    grams, rank = ngrams(unit_sequences(streams), 2), zipf(unit_sequences(streams))
    for shown in (use.table(), use.voice_table(), runs.table(), rank.table(), ngram_table([grams])):
        console.print(shown)
    assert "bits of the last" in console.export_text()
    for result in (use, runs, grams, rank, unit_durations(streams)):
        assert json.loads(json.dumps(asdict(result)))
