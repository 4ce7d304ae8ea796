"""Any number of plain English sentences, for voices that can say anything.

Patterns and words are our own; a sentence is a pattern whose ``{slots}`` are filled from `words`, with
the form after the dot: ``.s`` plural, ``.third`` person, ``.past``, ``.ing``. The words inside a sentence
are easy and the sentences themselves are new, so a recogniser gets little help from having read them.
Which split a sentence belongs to is decided by its hash, so no seed can bring a test sentence into training.
"""

import random
import re

from speechvq.errors import BadSetting
from speechvq.speech.prepare.words import LISTS
from speechvq.store.layout import fraction
from speechvq.store.manifest import SPLITS

SHORTEST, LONGEST = 5, 16  # words
DOUBLING = ("run", "swim", "sit")  # double the last letter before "ing", and have a past of their own
HELD = 0.1  # of all possible sentences for the test, and as many for validation

PATTERNS = tuple(
    line.strip()
    for line in """
    The {person} {handle.past} the {look} {thing} {when}.
    The {trait} {person} {do.past} {how} {near} the {place}.
    There is a {look} {thing} {near} the {place}.
    There were {number} {look} {thing.s} {near} the {place} {when}.
    My {person} {mood} {handle.third} the {thing.s} {near} the {place}.
    I saw {number} {animal.s} {near} the {place} {when}.
    The {look} {animal} {creature.past} {near} the {place}.
    We {handle.past} the {thing} and the {thing} {when}.
    She put the {look} {thing} {near} the {look} {thing}.
    He {eat.past} the {food} with some {food} and a {produce}.
    They bought {number} {produce.s} and some {food} at the {place}.
    The {group} will discuss the {idea} at the {event} {soon}.
    The {group} announced a new {idea} on {day}.
    Nobody {handle.past} the {thing} because it was {look} and {look}.
    It was {weather} and {weather} {when}.
    It will be {weather} in the {side} and {weather} near the {place} {soon}.
    The {event} starts at {hour} o'clock on {day}.
    The {event} is on the {order} of {month}.
    The {order} {event} of the year takes place in {month}.
    Turn left at the {place} and walk {number} {length} to the {place}.
    Please {handle} the {look} {thing} before you {handle} the {thing}.
    Do not {handle} the {thing} {near} the {place}.
    Could you {handle} the {look} {thing} for me {soon}?
    Did the {person} {handle} the {thing} {when}?
    Where did you {handle} the {look} {thing}?
    Why is the {thing} in the {place} so {look}?
    How many {thing.s} did the {person} {handle} {when}?
    How long does it take to {handle} {number} {thing.s}?
    What will happen if we {handle} the {look} {thing} {soon}?
    Who {handle.past} my {look} {thing} {when}?
    When does the {vehicle} leave for the {place}?
    The {vehicle} to the {place} leaves at {hour} {minute}.
    The {vehicle} was {minute} minutes late, so the {person.s} {do.past}.
    It takes {minute} minutes to get from the {place} to the {place}.
    You need {number} {produce.s}, some {food}, and a {look} bowl.
    First {eat} the {produce.s}, then {eat} the {food}.
    I would like a {produce} and a cup of {drink}, please.
    Thank you for the {look} {thing} you gave me {when}.
    I think the {idea} is {judged}, but the {person} does not agree.
    In my opinion, the {idea} was more {judged} than the {idea}.
    It is {judged} to {handle} a {look} {thing} {how}.
    If it is {weather} {soon}, we will {do} {near} the {place}.
    Whenever the {person} felt {trait}, she {do.past} {how}.
    The {person} hurt his {body} while he was {do.ing} {near} the {place}.
    My {body} hurts because I {handle.past} {number} {thing.s} {when}.
    The {look} {thing} is made of {material} and {material}.
    This {material} {thing} costs {number} dollars at the {place}.
    The {look} {vehicle} stopped {near} the {place} {when}.
    According to the {person}, the {idea} will change {soon}.
    The {group} spent {number} million dollars on the {place}.
    Reporters say the {person} will visit the {place} {soon}.
    The police found a {look} {thing} {near} the {place} {when}.
    The price of {food} rose by {number} percent in {month}.
    More than {number} people came to the {event} {when}.
    The {look} {place} was closed after the {event}.
    Good morning, how was the {event} {when}?
    See you at the {place} on {day}, and bring a {thing}.
    Sorry, I {handle.past} your {look} {thing} {when}.
    I have never seen such a {look} {animal}.
    Is there a {look} {place} {near} the {place}?
    Are the {thing.s} in the {place} {look} or {look}?
    The {animal} and the {animal} {creature.past} {near} the {place}.
    A {trait} {animal} and a {trait} {animal} lived {near} the {place}.
    Once upon a time, a {trait} {person} lived {near} a {look} {place}.
    He asked whether the {person} could {handle} the {thing}.
    She said that the {event} was {judged} and {judged}.
    Keep the {thing} away from the {food} and the {animal.s}.
    Both the {person} and the {person} {mood} {do} {how}.
    While the {person} was {do.ing}, the {animal} {creature.past}.
    Before you {do}, please {handle} the {look} {thing}.
    After the {event}, the {person.s} {do.past} {how}.
    Every {day}, the {person} {handle.third} the {thing.s} at the {place}.
    Nothing is as {look} as the {thing} of a {trait} {person}.
    The {look} {thing} fell off the {thing} and hit my {body}.
    My {person} bought a {look} {vehicle} and a {look} {thing}.
    Let us {handle} the {thing} and then {do} {how}.
    It has been {number} {unit} since the {person} left the {place}.
    The {person} is {number} years old and still {do.third} every {day}.
    In {month}, the {animal.s} {creature} {near} the {place}.
    Open the {look} {thing}, look inside, and tell me what you see.
    The {idea} of the {group} is not as {judged} as it seems.
    We talked about the {idea} and the {idea} until {hour} o'clock.
    Press the {order} button to {handle} the {thing}.
    To reach the {person}, please call after {hour} on {day}.
    Your {thing} is {look}, but mine is {look} and {look}.
    The {place} is about {number} {length} from the {place}.
    Some {animal.s} {creature} all day and {creature} at night.
    Would you rather {do} {near} the {place} or {do} {how}?
    No one knows why the {group} {handle.past} the {thing.s}.
    He is {eat.ing} {food} and {produce.s} for the {event} {soon}.
    {opener}, the {idea} gave the {person} some {feeling}.
    {opener}, I would rather study {subject} than {subject}.
    Do you enjoy {hobby}, or do you prefer {hobby}?
    {hobby} and {hobby} keep the {person} {trait}.
    The {person} {saying.past} that the {thing} was {look}.
    Why did the {person} {saying} that the {event} was {judged}?
    {opener}, I hope that your {person} feels better {soon}.
    The doctor says that {hobby} is good for your {body}.
    There was {feeling} and {feeling} in the {place} after the {event}.
    His {feeling} turned into {feeling} when the {person} {do.past}.
    Excuse me, which {vehicle} goes to the {place}?
    How much does the {look} {thing} near the {place} weigh?
    What a {weather} {day} for {hobby} {near} the {place}!
    The {subject} teacher {saying.past} that the {idea} was {judged}.
    {opener}, {subject} is more {judged} than {subject}.
    """.strip().splitlines()
)


def sentences(count: int, seed: int, *, split: str | None = None) -> list[str]:
    """``count`` different sentences; the same numbers give the same list, and a longer one begins with it.

    With ``split`` only sentences of that split (train, valid or test); the three are disjoint for all seeds.

    Raises:
        BadSetting: ``count`` is below 0 or ``split`` is none of the three.
    """
    if count < 0 or split not in (None, *SPLITS):
        raise BadSetting(f"cannot make {count} sentences of split {split!r}; splits are {', '.join(SPLITS)}")
    draw, made = random.Random(seed), {}
    while len(made) < count:
        sentence = _fill(_pick(draw, PATTERNS), draw)
        if SHORTEST <= len(sentence.split()) <= LONGEST and split in (None, split_of(sentence)):
            made[sentence] = None
    return list(made)


def split_of(sentence: str) -> str:
    """The split a sentence belongs to, by its SHA-1: 10 % test, 10 % valid, 80 % train."""
    place = fraction(sentence)
    return "test" if place < HELD else "valid" if place < 2 * HELD else "train"


def _fill(pattern: str, draw: random.Random) -> str:
    """Words for the slots, none twice; "a" becomes "an" where the sound asks for it."""
    used: set[str] = set()

    def word(slot: re.Match[str]) -> str:
        while (entry := _pick(draw, LISTS[slot[1]])) in used:
            pass
        used.add(entry)
        return _form(entry, slot[2] or "")

    text = re.sub(r"\{(\w+)\.?(\w*)\}", word, pattern)
    text = re.sub(r"\b([Aa]) (?=(?!use|usu|uni|one)[aeiou]|hour|honest)", r"\1n ", text)
    return text[0].upper() + text[1:]


def _pick(draw: random.Random, items: tuple[str, ...]) -> str:
    return items[int(draw.random() * len(items))]  # random() is the same in every Python, choice() is not


def _form(entry: str, form: str) -> str:
    """``leaf=leaves`` with "s", ``drop+`` with "past" ...: the word as it stands in the sentence."""
    word, _, irregular = entry.partition("=")
    stem = word.rstrip("+")
    doubled = stem + stem[-1] if word.endswith("+") or stem in DOUBLING else stem
    soft = re.search("[^aeiou]y$", stem) is not None
    if irregular and form in ("s", "past"):
        return irregular
    if form in ("s", "third"):
        hissing = re.search("(s|x|ch|sh|[^aeiou]o)$", stem) is not None
        return stem[:-1] + "ies" if soft else stem + ("es" if hissing else "s")
    if form == "past":
        return stem[:-1] + "ied" if soft else doubled + ("d" if stem.endswith("e") else "ed")
    if form == "ing":
        return (stem[:-1] if re.search("[^e]e$", stem) else doubled) + "ing"
    return stem
