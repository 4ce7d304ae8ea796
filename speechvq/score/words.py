"""Plain words out of written English, so that a word error rate counts words and not spellings.

Both the reference and what the recogniser wrote pass through here: lower case, no punctuation, digits
as words, a few spellings that differ between countries brought to one.
"""

import re

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
SPELLINGS = {
    "mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay", "colour": "color", "colours": "colors",
    "grey": "gray", "centre": "center", "harbour": "harbor", "neighbour": "neighbor",
    "neighbours": "neighbors", "favourite": "favorite", "theatre": "theater", "metre": "meter",
    "metres": "meters", "litre": "liter", "litres": "liters", "programme": "program", "plough": "plow",
    "storey": "story", "tyre": "tire", "tyres": "tires", "flavour": "flavor", "labour": "labor",
    "honour": "honor", "travelled": "traveled", "travelling": "traveling", "jewellery": "jewelry",
    "cheque": "check", "towards": "toward", "alright": "all right",
}  # fmt: skip
SIGNS = {"%": " percent ", "&": " and ", "+": " plus ", "@": " at "}


def normalise(text: str) -> str:
    """Lower-case words with single spaces; "" when nothing is left.

    "It's 7:30, Mr. Grey -- 25%!" becomes "its seven thirty mister gray twenty five percent".
    """
    text = text.lower().replace("’", "'")
    text = re.sub(r"\[[^]]*\]|\([^)]*\)", " ", text)  # (laughs), [music]: not words
    text = re.sub(r"(?<![\d.,$£€])1[1-9]\d\d(?![\d.,]*\d)", lambda m: _year(int(m[0])), text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"[$£€](\d[\d.]*)", lambda m: f"{m[1]} {_currency(m[0][0])}", text)
    for sign, word in SIGNS.items():
        text = text.replace(sign, word)
    text = re.sub(r"(\d+):00\b", r"\1 o'clock", text)
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda m: _ordinal(int(m[1])), text)
    text = re.sub(r"(\d+)\.(\d+)", lambda m: f"{m[1]} point {' '.join(m[2])}", text)
    text = re.sub(r"\d+", lambda m: f" {cardinal(int(m[0]))} ", text)
    text = text.replace("'", "")
    words = re.sub(r"[^\w]+|_", " ", text).split()
    return " ".join(SPELLINGS.get(word, word) for word in words)


def cardinal(number: int) -> str:
    """A whole number in English words, without "and": 125 is "one hundred twenty five"."""
    if number >= 10**12:
        return " ".join(ONES[int(digit)] for digit in str(number))
    for size, name in SCALES:
        if number >= size:
            rest = f" {cardinal(number % size)}" if number % size else ""
            return f"{cardinal(number // size)} {name}{rest}"
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")


def _ordinal(number: int) -> str:
    *rest, last = cardinal(number).split()
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last.removesuffix('t')}th"
    return " ".join([*rest, ORDINALS.get(last, regular)])


def _year(number: int) -> str:
    """Written without a comma, 1984 is read "nineteen eighty four" and 1100 "eleven hundred"."""
    century, rest = divmod(number, 100)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def _currency(sign: str) -> str:
    return {"$": "dollars", "£": "pounds", "€": "euros"}[sign]
