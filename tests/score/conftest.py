"""Two voices saying the same two sentences, and one run of the judges over them."""

from pathlib import Path

import pytest

from speechvq.score.pairs import Pair, Row, score_files
from speechvq.store.manifest import Entry

ASSETS = Path(__file__).parent / "assets"
TEXTS = {1: "The train was late again.", 2: "She found seven green apples."}


@pytest.fixture(scope="session")
def entries() -> list[Entry]:
    """Sentence 1 is for testing, sentence 2 for training."""
    lengths = {"slt1": 1.665, "rms1": 1.88, "slt2": 2.08, "rms2": 2.275}
    return [
        Entry(str(ASSETS / f"{voice}{i}.flac"), 0.0, lengths[f"{voice}{i}"], voice, f"s{i}", split, TEXTS[i])
        for i, split in ((1, "test"), (2, "train"))
        for voice in ("slt", "rms")
    ]


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    """The woman "converted" to the man, without fault; and left as she is, without success."""
    source, other = str(ASSETS / "slt1.flac"), str(ASSETS / "rms1.flac")
    return [
        Pair(source, other, "slt", "rms", "s1", TEXTS[1], other),
        Pair(source, source, "slt", "rms", "s1", TEXTS[1], other),
    ]


@pytest.fixture(scope="session")
def rows(pairs: list[Pair]) -> list[Row]:
    return score_files(pairs, {voice: [ASSETS / f"{voice}2.flac"] for voice in ("slt", "rms")})
