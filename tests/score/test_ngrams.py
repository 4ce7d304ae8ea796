"""Counting models beside dictionaries, and what they must cost."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.prior.tokens import Alphabet
from speechvq.score.ngrams import WEIGHTS, Counts, Ngrams


def rows_of(alphabet: Alphabet, count: int, seed: int, length: int = 30) -> list[np.ndarray]:
    """Codes that tend to stay, as tokens; of different lengths."""
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(count):
        shape = (1, alphabet.num_codebooks, length + i % 5)
        kept = torch.rand(shape, generator=draw) < 0.6
        codes = torch.randint(alphabet.codebook_size, shape, generator=draw)
        for t in range(1, shape[2]):
            codes[..., t] = torch.where(kept[..., t], codes[..., t - 1], codes[..., t])
        rows.append(alphabet.tokens(Codes(codes))[0].numpy())
    return rows


def slowly(
    alphabet: Alphabet, train: list[np.ndarray], held: list[np.ndarray], weights: tuple
) -> list[float]:
    """`Ngrams.bits` with dictionaries, one token after the other."""
    order = len(weights)
    both, context = [Counter() for _ in weights], [Counter() for _ in weights]

    def walk(rows):
        for row in rows:
            past = [alphabet.nothing] * (order - 1)
            for i, token in enumerate(row.tolist()):
                book = i % alphabet.num_codebooks
                yield [(tuple(past[len(past) - n :]), book) for n in range(order)], token
                past.append(token)

    for contexts, token in walk(train):
        for n, seen in enumerate(contexts):
            both[n][seen, token] += 1
            context[n][seen] += 1
    bits = [[] for _ in weights]
    for contexts, token in walk(held):
        chance = 1 / alphabet.codebook_size
        for n, seen in enumerate(contexts):
            chance = (both[n][seen, token] + weights[n] * chance) / (context[n][seen] + weights[n])
            bits[n].append(-math.log2(chance))
    return [sum(b) / len(b) for b in bits]


@pytest.mark.parametrize("alphabet", [Alphabet(5), Alphabet(4, 2, first=9), Alphabet(3, 3)])
def test_bits_are_those_of_dictionaries(alphabet: Alphabet):
    train, held = rows_of(alphabet, 20, 1), rows_of(alphabet, 4, 2)
    model = Ngrams(alphabet, train)
    assert model.bits(held) == pytest.approx(slowly(alphabet, train, held, model.weights), abs=1e-10)


@pytest.mark.parametrize("alphabet", [Alphabet(4), Alphabet(3, 2)])
def test_weights_are_the_cheapest_on_a_tenth(alphabet: Alphabet):
    train = rows_of(alphabet, 20, 3)
    rest, tenth = [r for i, r in enumerate(train) if i % 10 != 9], train[9::10]
    model = Ngrams(alphabet, train, order=2)
    first = min(WEIGHTS, key=lambda a: slowly(alphabet, rest, tenth, (a,))[0])
    second = min(WEIGHTS, key=lambda a: slowly(alphabet, rest, tenth, (first, a))[1])
    assert model.weights == (first, second)


def test_chances_sum_to_one():
    alphabet = Alphabet(5, 2)
    model = Ngrams(alphabet, rows_of(alphabet, 12, 4))
    begin = rows_of(alphabet, 1, 5)[0][:7].tolist()  # the next is of the second codebook
    total = [0.0] * 3
    for code in range(5):
        row = np.array([*begin, 5 + code])
        costs, before = model.bits([row]), model.bits([row[:-1]])
        for n in range(3):
            total[n] += 2 ** -(8 * costs[n] - 7 * before[n])
    assert total == pytest.approx([1, 1, 1])


def test_a_stream_without_order_costs_no_less_than_its_entropy():
    alphabet = Alphabet(8)
    draw = np.random.default_rng(0)
    rows = [draw.choice(8, 400, p=[0.4, 0.3, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01]) for _ in range(40)]
    one, two, three = Ngrams(alphabet, rows[:30]).bits(rows[30:])
    share = np.bincount(np.concatenate(rows[30:])) / 4000
    entropy = -(share * np.log2(share)).sum()
    assert entropy <= one == pytest.approx(entropy, abs=0.005)
    assert two == pytest.approx(one, abs=0.02)
    assert three == pytest.approx(one, abs=0.02)
    chain = [np.arange(400) % 8 for _ in range(10)]
    one, two, _ = Ngrams(alphabet, chain).bits(chain)
    assert one == pytest.approx(3, abs=1e-3)
    assert two < 0.01


def test_counting_is_counting():
    counted = Counts.of(np.array([5, 3, 5, 5, 9]))
    assert counted.look(np.array([3, 4, 5, 9, 10, 0])).tolist() == [1, 0, 3, 1, 0, 0]
    assert Counts.of(np.array([], dtype=np.int64)).look(np.array([3])).tolist() == [0]


def test_what_cannot_be_counted():
    with pytest.raises(BadSetting, match="order 0"):
        Ngrams(Alphabet(5), [np.array([1])], order=0)
    with pytest.raises(BadSetting, match="cannot be counted"):
        Ngrams(Alphabet(65536, 8), [np.array([1])])
    with pytest.raises(BadSetting, match="no codes"):
        Ngrams(Alphabet(5), [])
