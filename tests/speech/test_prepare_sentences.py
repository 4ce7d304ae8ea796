"""Our own sentences: plain, new, repeatable, and never in two splits."""

import re
from collections import Counter

import pytest

from speechvq.errors import BadSetting
from speechvq.speech.prepare.sentences import PATTERNS, sentences, split_of
from speechvq.speech.prepare.words import LISTS

FIRST = [
    "No one knows why the family wrapped the backpacks.",
    "More than twelve people came to the vacation last month.",
]  # with seed 0, in every Python


def words(lines: list[str]) -> list[str]:
    return [re.sub(r"[^a-z'-]", "", word.lower()) for line in lines for word in line.split()]


def test_as_many_as_wanted_and_none_twice() -> None:
    made = sentences(5000, seed=1)
    assert len(set(made)) == 5000
    assert all(5 <= len(line.split()) <= 16 for line in made)
    assert all(line[0].isupper() and line[-1] in ".?!" for line in made)
    assert not [line for line in made if re.search(r"[{}_=+\d]|  ", line)]
    assert sentences(0, seed=1) == []


def test_repeatable() -> None:
    assert sentences(50, seed=7) == sentences(200, seed=7)[:50]
    assert not set(sentences(200, seed=7)) & set(sentences(200, seed=8))
    assert sentences(2, seed=0) == FIRST


def test_wide() -> None:
    assert len(set(PATTERNS)) == len(PATTERNS) >= 60
    vocabulary = Counter(words(sentences(6000, seed=2)))
    assert len(vocabulary) >= 1500
    assert vocabulary.most_common(1)[0][0] == "the"
    starts = {line.split()[0] for line in sentences(2000, seed=3)}
    assert len(starts) > 60
    ends = Counter(line[-1] for line in sentences(2000, seed=3))
    assert ends["?"] > 100


def test_every_word_is_used() -> None:
    vocabulary = " ".join(words(sentences(20000, seed=4)))
    missing = []
    for entries in LISTS.values():
        for entry in entries:
            stem = entry.partition("=")[0].rstrip("+").lower()
            forms = [stem, entry.partition("=")[2] or stem, stem[:-1]]
            missing += [entry] if not any(form in vocabulary for form in forms) else []
    assert missing == []


def test_splits_share_nothing_for_any_seed() -> None:
    train = {line for seed in range(3) for line in sentences(300, seed, split="train")}
    valid = {line for seed in range(3) for line in sentences(300, seed, split="valid")}
    test = {line for seed in range(3) for line in sentences(300, seed, split="test")}
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert all(split_of(line) == "test" for line in test)
    shares = Counter(split_of(line) for line in sentences(5000, seed=9))
    assert 400 < shares["test"] < 600
    assert 400 < shares["valid"] < 600


def test_grammar() -> None:
    text = " ".join(sentences(8000, seed=5))
    assert not re.search(r"\ba [aio]\w", re.sub(r"\ba one", "", text))
    assert re.search(r"\ban \w", text)
    assert not re.search(r"\ban [bcdfgjklmnpqrstvwxyz]", text)
    for wrong in ("leafs", "knifes", "childs", "mans ", "catched", "throwed", "droped", "carryed", "puting"):
        assert wrong not in text
    for right in ("leaves", "knives", "children", "caught", "threw", "dropped", "carried", "swimming"):
        assert right in text


def test_impossible_wishes() -> None:
    with pytest.raises(BadSetting):
        sentences(-1, seed=0)
    with pytest.raises(BadSetting, match="dev"):
        sentences(1, seed=0, split="dev")
