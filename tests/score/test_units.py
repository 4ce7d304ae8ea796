"""Agreement of units and phones: the published numbers, loops over counts, and what must always hold."""

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
from hypothesis.extra.numpy import arrays
from rich.console import Console

from speechvq.errors import BadSetting
from speechvq.score.phonemes import (
    accuracy,
    majority_phone,
    phone_map,
    phone_rows,
    phone_table,
    phoneme_experiment,
    unit_rows,
    unit_table,
)
from speechvq.score.streams import Stream
from speechvq.score.units import FAIRSEQ, Joint, agreement, joint, joint_counts, one_to_one
from speechvq.store.alignments import Interval

KNOWN = Joint(("a", "b", "c"), (0, 1, 2, 3), np.array([[40, 10, 0, 0], [5, 20, 5, 0], [0, 0, 10, 10]]))


def pairs(frames: int = 400) -> tuple[list[str], list[int]]:
    """Phones, and units that follow them three times in four."""
    phones = np.random.randint(0, 6, frames)
    units = np.where(np.random.rand(frames) < 0.75, 10 * phones, np.random.randint(0, 70, frames))
    return [f"p{p}" for p in phones], units.tolist()


def test_the_known_counts():
    scores = agreement(KNOWN)
    assert scores.frames == 100
    assert scores.phone_purity == pytest.approx(0.80)
    assert scores.cluster_purity == pytest.approx(0.70)
    assert scores.mutual_information == pytest.approx(0.5862472, abs=5e-8)
    assert scores.phone_entropy == pytest.approx(1.0296530, abs=5e-8)
    assert scores.unit_entropy == pytest.approx(1.2353468, abs=5e-8)
    assert scores.pnmi == pytest.approx(0.5693638, abs=5e-8)
    assert scores.unit_nmi == pytest.approx(0.4745608, abs=5e-8)
    assert scores.nmi == pytest.approx(0.5176576, abs=5e-8)
    assert scores.one_to_one == pytest.approx(0.70)


def test_the_known_counts_as_fairseq_scores_them():
    assert agreement(KNOWN, eps=FAIRSEQ).pnmi == pytest.approx(0.5693639, abs=5e-8)
    total = KNOWN.counts.sum()
    rows, cols = KNOWN.counts.sum(1) / total, KNOWN.counts.sum(0) / total
    information = sum(
        p * math.log(p / (rows[y] * cols[u]) + 1e-8) for (y, u), p in np.ndenumerate(KNOWN.counts / total)
    )
    entropy = -sum(p * math.log(p + 1e-8) for p in rows)
    assert agreement(KNOWN, eps=FAIRSEQ).pnmi == pytest.approx(information / entropy, abs=1e-12)


def test_scores_agree_with_loops_over_frames():
    phones, units = pairs()
    n = len(phones)
    both, ys, us = Counter(zip(phones, units, strict=True)), Counter(phones), Counter(units)
    scores = agreement(joint(phones, units))
    purity = sum(max(both[y, u] for y in ys) for u in us) / n
    cluster = sum(max(both[y, u] for u in us) for y in ys) / n
    information = sum(c / n * math.log(c * n / (ys[y] * us[u])) for (y, u), c in both.items())
    h_y = -sum(c / n * math.log(c / n) for c in ys.values())
    h_u = -sum(c / n * math.log(c / n) for c in us.values())
    assert scores.phone_purity == pytest.approx(purity)
    assert scores.cluster_purity == pytest.approx(cluster)
    assert scores.mutual_information == pytest.approx(information)
    assert (scores.phone_entropy, scores.unit_entropy) == pytest.approx((h_y, h_u))
    assert scores.pnmi == pytest.approx(information / h_y)
    assert scores.unit_nmi == pytest.approx(information / h_u)
    assert scores.nmi == pytest.approx(2 * information / (h_y + h_u))


def test_rand_index_agrees_with_a_loop_over_pairs_of_frames():
    phones, units = pairs(60)
    together = [
        (phones[i] == phones[j], units[i] == units[j]) for i, j in itertools.combinations(range(60), 2)
    ]
    both = sum(a and b for a, b in together)
    first, second = sum(a for a, _ in together), sum(b for _, b in together)
    chance = first * second / len(together)
    expected = (both - chance) / ((first + second) / 2 - chance)
    assert agreement(joint(phones, units)).ari == pytest.approx(expected)


def test_mutual_information_above_chance_agrees_with_shuffling():
    phones, units = pairs(80)
    scores = agreement(joint(phones, units))
    random = [agreement(joint(phones, np.random.permutation(units))).mutual_information for _ in range(60)]
    chance, mean = float(np.mean(random)), (scores.phone_entropy + scores.unit_entropy) / 2
    expected = (scores.mutual_information - chance) / (mean - chance)
    assert scores.ami == pytest.approx(expected, abs=0.05)


def test_one_to_one_is_the_best_of_all_maps():
    counts = np.random.randint(0, 9, (4, 6)) + 1
    table = Joint(tuple("abcd"), tuple(range(6)), counts)
    best = max(
        sum(counts[y, u] for y, u in enumerate(chosen)) for chosen in itertools.permutations(range(6), 4)
    )
    matched = one_to_one(table)
    assert sum(counts[y, u] for y, u in matched) == best
    assert agreement(table).one_to_one == pytest.approx(best / counts.sum())
    assert len({y for y, _ in matched}) == len({u for _, u in matched}) == 4


@settings(max_examples=25, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(1, 30)))
def test_what_always_holds(counts):
    scores = agreement(Joint(tuple(map(str, range(len(counts)))), tuple(range(counts.shape[1])), counts))
    assert scores.homogeneity == pytest.approx(scores.pnmi, abs=1e-6)
    assert scores.completeness == pytest.approx(scores.unit_nmi, abs=1e-6)
    assert scores.v_measure == pytest.approx(scores.nmi, abs=1e-6)
    assert 0 < scores.one_to_one <= min(scores.phone_purity, scores.cluster_purity) + 1e-12 <= 1 + 1e-9


def test_names_of_units_do_not_matter_and_perfect_units_score_one():
    phones, units = pairs()
    renamed = [7919 * (u + 3) for u in units]
    assert agreement(joint(phones, units)) == pytest.approx(agreement(joint(phones, renamed)))
    perfect = agreement(joint(phones, [int(p[1:]) for p in phones]))
    shares = (perfect.pnmi, perfect.unit_nmi, perfect.ami, perfect.ari, perfect.one_to_one)
    assert shares == pytest.approx((1.0,) * 5)
    single = agreement(joint(["a"] * 5, [3] * 5), eps=FAIRSEQ)
    assert (single.pnmi, single.phone_purity, single.phones) == (1.0, 1.0, 1)


def test_counting_leaves_out_frames_without_a_phone():
    table = joint(["b", None, "a", "b", None], [4, 4, 9, 4, 1])
    assert table.phones == ("a", "b")
    assert table.units == (4, 9)
    assert table.counts.tolist() == [[0, 1], [2, 0]]
    assert (table.frames, table.unlabelled) == (3, 2)
    assert table.given_unit.sum(0).tolist() == [1, 1]
    assert table.order.tolist() == [1, 0]
    with pytest.raises(BadSetting, match="no frame has a phone"):
        joint([None, None], [1, 2])
    with pytest.raises(BadSetting, match="2 phones and 1 units"):
        joint(["a", "b"], [1])
    with pytest.raises(BadSetting, match="no frame has a phone"):
        joint_counts([])


def streams(count: int = 3, frames: int = 40) -> list[Stream]:
    """Recordings of phones of four frames each, and units that are their phone's, or one too high."""
    made = []
    for i in range(count):
        labels = np.random.randint(0, 5, frames // 4)
        phones = tuple(Interval(f"p{x}", 0.08 * n, 0.08 * (n + 1)) for n, x in enumerate(labels.tolist()))
        codes = np.repeat(labels, 4) + (np.random.rand(frames) < 0.3)
        made.append(Stream(f"s{i}", "slt", codes[:, None], 50.0, frames / 50, phones))
    return made


def test_streams_are_counted_together():
    found = streams()
    table = joint_counts(found)
    counts = Counter(
        (phone, int(u)) for s in found for phone, u in zip(s.phone_frames(), s.units, strict=True)
    )
    for (row, col), count in np.ndenumerate(table.counts):
        assert count == counts[table.phones[row], table.units[col]]
    assert table.frames == sum(counts.values()) == 120


def test_phoneme_experiment_agrees_with_reading_frame_by_frame():
    train, test = pairs(300), pairs(90)
    test[1][:3] = [991, 992, 993]  # never met in training
    fitted, scored = joint(*train), joint(*test)
    found = phoneme_experiment(scored, fitted)

    def read(phones: list[str], units: list[int]) -> tuple[dict[int, str], str]:
        by_unit: dict[int, Counter[str]] = {}
        for phone, unit in zip(phones, units, strict=True):
            by_unit.setdefault(unit, Counter())[phone] += 1
        first = lambda c: min(c, key=lambda phone: (-c[phone], phone))  # noqa: E731
        return {unit: first(counts) for unit, counts in by_unit.items()}, first(Counter(phones))

    def right(mapping: dict[int, str], otherwise: str) -> float:
        said = [mapping.get(unit, otherwise) for unit in test[1]]
        return sum(a == b for a, b in zip(said, test[0], strict=True)) / len(said)

    same, most = read(*test)
    other, most_other = read(*train)
    assert phone_map(scored) == same
    assert majority_phone(fitted) == most_other
    assert found.same_data == pytest.approx(right(same, most))
    assert found.same_data == pytest.approx(agreement(scored).phone_purity)
    assert found.held_out == pytest.approx(right(other, most_other))
    assert found.majority_accuracy == pytest.approx(right({}, most))
    assert found.held_out_majority_accuracy == pytest.approx(right({}, most_other))
    assert found.unseen == pytest.approx(sum(u not in other for u in test[1]) / 90)
    assert found.unseen >= 3 / 90
    assert found.held_out <= found.same_data
    assert phoneme_experiment(scored).held_out is None
    assert accuracy(scored, {}, otherwise="nothing said so") == 0.0


def test_a_map_of_many_units_flatters_little_speech():
    """Random units: the map of the same frames reads many right, that of other speech none above chance."""
    draw = lambda: joint([f"p{i}" for i in np.random.randint(0, 20, 500)], np.random.randint(0, 400, 500))  # noqa: E731
    found = phoneme_experiment(draw(), draw())
    assert found.same_data > 0.6
    assert found.held_out is not None
    assert found.held_out < 0.15


def test_rows_of_phones():
    phones, units = pairs()
    rows = phone_rows(joint(phones, units))
    assert sorted(row.phone for row in rows) == sorted(set(phones))
    assert [row.f1 for row in rows] == sorted((row.f1 for row in rows), reverse=True)
    for row in rows:
        best = 0.0
        for unit in set(units):
            hit = sum(p == row.phone and u == unit for p, u in zip(phones, units, strict=True))
            precision, recall = hit / units.count(unit), hit / phones.count(row.phone)
            f1 = 2 * precision * recall / (precision + recall) if hit else 0.0
            if unit == row.unit:
                assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))
            best = max(best, f1)
        assert row.f1 == pytest.approx(best)


def test_rows_of_units():
    found = streams()
    rows = unit_rows(found)
    assert sum(row.frames for row in rows) == 120
    assert sum(row.share for row in rows) == pytest.approx(1)
    for row in rows:
        lengths, phones = [], Counter()
        for stream in found:
            for unit, run in itertools.groupby(stream.units.tolist()):
                lengths += [20.0 * len(list(run))] if unit == row.unit else []
            labels = zip(stream.phone_frames(), stream.units.tolist(), strict=True)
            phones.update(phone for phone, unit in labels if unit == row.unit)
        assert row.segments == len(lengths)
        assert row.frames == sum(phones.values()) == round(sum(lengths) / 20)
        assert row.median_duration == pytest.approx(float(np.median(lengths)))
        assert [p for _, p in row.phones] == pytest.approx([c / row.frames for _, c in phones.most_common(3)])
    silent = [Stream("s", "slt", np.array([[1], [1], [2]]), 50.0, 1.0)]
    assert [(r.unit, r.frames, r.phones) for r in unit_rows(silent)] == [(1, 2, ()), (2, 1, ())]


def test_results_are_tables_and_json():
    table = joint(*pairs())
    console = Console(width=100, file=io.StringIO())
    scores, experiment = agreement(table), phoneme_experiment(table, KNOWN)
    for shown in (scores.table(), experiment.table(), phoneme_experiment(table).table()):
        console.print(shown)
    console.print(phone_table(phone_rows(table)))
    console.print(unit_table(unit_rows(streams())))
    assert json.loads(json.dumps(asdict(scores)))["pnmi"] == scores.pnmi
    assert json.loads(json.dumps(asdict(experiment)))["classes"] == 6
    assert json.loads(json.dumps([asdict(row) for row in unit_rows(streams())]))
