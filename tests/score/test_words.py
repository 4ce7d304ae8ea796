"""Spelling is not counted as a word error."""

import pytest

from speechvq.score.words import cardinal, normalise


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("The  QUIET river—turns.", "the quiet river turns"),
        ("It’s Mr. Grey's colour, OK?", "its mister greys color okay"),
        ("25 green apples, 3rd of 21!", "twenty five green apples third of twenty one"),
        ("a 20th, a 12th and a 100th", "a twentieth a twelfth and a one hundredth"),
        ("in 1984, 1905 and 1900", "in nineteen eighty four nineteen oh five and nineteen hundred"),
        ("1,984 of 40,000", "one thousand nine hundred eighty four of forty thousand"),
        ("$1,250 or 50% at 7:30, at 7:00", "one thousand two hundred fifty dollars or fifty percent at "
         "seven thirty at seven oclock"),
        ("0.5 & 10.25", "zero point five and ten point two five"),
        ("[music] (laughs) yes", "yes"),
        ("well-known twenty-five", "well known twenty five"),
        ("... !?", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_normalise(written, words):
    assert normalise(written) == words
    assert normalise(words) == words


def test_cardinals():
    assert [cardinal(n) for n in (0, 7, 13, 20, 99, 100, 2005)] == [
        "zero", "seven", "thirteen", "twenty", "ninety nine", "one hundred", "two thousand five",
    ]  # fmt: skip
    assert cardinal(3_000_001) == "three million one"
    assert cardinal(10**12 + 5).split()[0] == "one"
