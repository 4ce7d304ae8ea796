"""results.md: what was aimed at, every table, the pictures, and what the run took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import tables
from measure import Row
from stages import Took

COMMAND = "recipes/unit_discovery/run.sh"
MOST_BITS = 450.0


@dataclass(frozen=True)
class Found:
    """All rows that there are; lists that are empty are left out of the page.

    Attributes:
        synthetic: units with exact phone times, the codec's first.
        recorded: the same of recorded English with times of a forced aligner.
        voices: name of a corpus to a row a voice, and one of all.
        alike: pairs of runs.
        took: stages.
        pictures: names of pictures beside the page.
        more: sections that others have written.
    """

    synthetic: Sequence[Row]
    recorded: Sequence[Row] = ()
    voices: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    alike: Sequence[Row] = ()
    took: Sequence[Took] = ()
    pictures: Sequence[str] = ()
    more: Sequence[str] = ()


def page(found: Found, command: str = COMMAND) -> str:
    """The page, in Markdown."""
    first = found.synthetic[0]
    lines = [
        "# Unit discovery: what came out",
        "",
        f"Made by `{command}`{_codec(first)}. {first['recordings']} held-out recordings of flite's voices "
        f"({first['frames']} frames, {first['codes']} units, {first['rate']:g} frames a second); k-means and "
        f"the map to phones from {first['map_recordings']} recordings of the train split.",
        *_aims(found.synthetic),
        *_reading(),
        *tables.sections(tables.PHONES, found.synthetic),
        *tables.sections(tables.VOICE, found.synthetic),
    ]
    lines += _pictures(found.pictures)
    lines += _recorded(found.recorded) + _voices(found.voices) + _alike(found.alike)
    for section in found.more:
        lines += ["", section.strip()]
    lines += _took(found.took)
    return "\n".join([*lines, ""])


def aims(rows: Sequence[Row]) -> list[tuple[str, float, float, bool]]:
    """(aim, ours, what it is to be better than, whether it is); the first row is the codec's."""
    first, *others = rows
    asked = [(f"at most {MOST_BITS:g} bit/s", first["bitrate"], MOST_BITS, False)]
    for row in others:
        if "mfcc" in str(row["name"]):
            asked += [
                (f"PNMI above {row['name']}", first["pnmi"], row["pnmi"], True),
                (f"ABX across of the units' vectors below {row['name']}", first["abx_quantized_across"],
                 row["abx_quantized_across"], False),
                (f"ABX across of bare units below {row['name']}", first["abx_one-hot_across"],
                 row["abx_one-hot_across"], False),
            ]  # fmt: skip
    found = []
    for name, ours, theirs, higher in asked:
        a, b = float(ours), float(theirs)
        found.append((name, a, b, a > b if higher else (a <= b if theirs == MOST_BITS else a < b)))
    return found


def _aims(rows: Sequence[Row]) -> list[str]:
    found = aims(rows)
    lines = [
        "",
        "## What was aimed at",
        "",
        "| held-out speech, equal number of units and rate | ours | aim | |",
    ]
    lines.append("|---|---|---|---|")
    for name, ours, theirs, met in found:
        form = ".3f" if "PNMI" in name else ".2f" if "ABX" in name else ".0f"
        lines.append(f"| {name} | {ours:{form}} | {theirs:{form}} | {'met' if met else '**not met**'} |")
    return [*lines, "", f"{sum(met for *_, met in found)} of {len(found)} met."]


def _reading() -> list[str]:
    return [
        "",
        "## How to read it",
        "",
        "- The synthetic test split is scored whole. PNMI, purity and the map made from the scored frames "
        "rise when there is little speech; the map from the train split does not have this fault.",
        '- "Normalised" k-means sees features without the mean and deviation of each recording. The codec '
        "removes the mean as well, so these are the fairer rivals; the plain ones are what is usually called "
        "k-means on MFCC.",
        "- The codec and the k-means learned from other sentences of the same four voices, the codec from "
        "Asterisk's recorded voices as well. flite's voices are easier than people, and the phone times are "
        "those of the synthesiser, not of an ear.",
        "- What units know of the voice is in the tables of probes and of I(unit; speaker): lower is better.",
    ]


def _codec(first: Row) -> str:
    return f", codec {first['codec']}" if first.get("codec") else ""


def _pictures(names: Sequence[str]) -> list[str]:
    told = {
        "phones.png": "Each column is a unit: which phones are spoken while it is heard",
        "statistics.png": "How often each unit occurs, and how long units and phones last",
        "codes.png": "Code vectors in two dimensions, with their most probable phones",
    }
    lines = ["", "## Pictures"] if names else []
    for name in names:
        lines += ["", f"{told.get(name, name)}:", "", f"![{told.get(name, name)}](pictures/{name})"]
    return lines


def _recorded(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    first = rows[0]
    about = (
        f"{first['recordings']} held-out recordings of one woman ({first['frames']} frames; Asterisk's "
        "telephone prompts) with phone times of a forced aligner (`speechvq align`), which are less exact "
        f"than those above. Map and k-means from {first['map_recordings']} other recordings of hers, which "
        "the codec has met in training, without their phones. There is little speech, so PNMI and purity "
        "look better than they would with more: compare rows, not sections. ABX within the speaker, of "
        f"{first['abx_items']} triphones."
    )
    return ["", "## Recorded English", "", about, *tables.sections(tables.PHONES, rows, 3)]


def _voices(corpora: Mapping[str, Sequence[Row]]) -> list[str]:
    if not corpora:
        return []
    lines = [
        "", "## Voice by voice, without phones", "",
        "Bits apart: what a frame's unit tells of this voice against all of its table (Kullback-Leibler).",
    ]  # fmt: skip
    for name, rows in corpora.items():
        last = rows[-1]
        lines += [
            "", f"### {name}", "", *tables.table(rows, tables.VOICES), "",
            f"I(unit; speaker) = {last['speaker_information']:.3f} bits of {last['speaker_entropy']:.3f}, "
            f"{last['speaker_chance']:.3f} by chance; chi² = {last['chi2']:.0f} with "
            f"{last['freedom']:.0f} degrees of freedom (p = {last['p']:.2g}), "
            f"Cramér's V = {last['cramers_v']:.3f}.",
        ]  # fmt: skip
    if any("Asterisk" in name for name in corpora):
        lines += ["", "In Asterisk's prompts voice and language change together (en_allison and es_allison "
                  "are one woman), so what the units tell there is of both."]  # fmt: skip
    return lines


def _alike(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    about = (
        "Agreement of two sets of units frame by frame, whatever the units are called; 1 for equal units, "
        "AMI and ARI about 0 by chance."
    )
    if not any("small codec" in str(row["name"]) for row in rows):
        about += (
            f" `{COMMAND} --seeds` trains two small codecs that differ in their seed, for a row of codecs."
        )
    return ["", "## Stability", "", about, "", *tables.table(rows, tables.ALIKE)]


def _took(took: Sequence[Took]) -> list[str]:
    if not took:
        return []
    stages = [stage for stage in took if stage.name != "whole"]
    lines = ["", "## What it took", "", f"{took[0].machine}; {took[0].slots} stages at a time."]
    lines += ["", "| stage | seconds | of processor |", "|---|---|---|"]
    lines += [f"| {stage.name} | {stage.wall:.0f} | {stage.cpu:.0f} |" for stage in stages]
    lines.append(f"| sum | {sum(s.wall for s in stages):.0f} | {sum(s.cpu for s in stages):.0f} |")
    whole = next((stage for stage in took if stage.name == "whole"), None)
    if whole is not None:
        lines += ["", f"From nothing to all stages: {whole.wall / 60:.0f} minutes."]
    else:
        lines += ["", "Made in more than one run, or with corpora that were there (those are not listed)."]
    return lines
