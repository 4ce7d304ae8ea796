"""The rows as a page of tables."""

from collections.abc import Mapping, Sequence

from measure import Row

COMMAND = "recipes/unit_discovery/run.sh"
type Column = tuple[str, str, str]

ABX: tuple[Column, ...] = tuple(
    (f"{shown}, {speaker}", f"abx_{name}_{speaker}", ".2f")
    for shown, name in (("units", "one-hot"), ("their vectors", "quantized"), ("before", "latents"))
    for speaker in ("within", "across")
)
TABLES: tuple[tuple[str, str, tuple[Column, ...]], ...] = (
    (
        "Units and phones",
        "Bits by the rule of ZeroSpeech 2019; runs: each run of equal units sent once, without its duration.",
        (("bit/s", "bitrate", ".0f"), ("runs, bit/s", "deduplicated_bitrate", ".0f"),
         ("used", "usage", ".0%"), ("perplexity", "perplexity", ".0f"), ("PNMI", "pnmi", ".3f"),
         ("phone purity", "phone_purity", ".3f"), ("cluster purity", "cluster_purity", ".3f"),
         ("AMI", "ami", ".3f"), ("V-measure", "v_measure", ".3f")),
    ),
    (
        "Units read as phones",
        "The phoneme experiment of van den Oord et al. (2017): 49.3 % over a majority class of 7.2 % "
        "(41 classes, 128 codes at 25 Hz, map and score on the same frames).",
        (("classes", "classes", ".0f"), ("map from the same frames", "accuracy_same_data", ".1%"),
         ("map from the train split", "accuracy_held_out", ".1%"),
         ("majority class", "accuracy_majority", ".1%")),
    ),
    (
        "ABX error in %, triphones",
        "50 is chance. Bare units (one-hot), the vectors that they stand for, and the vectors before "
        "quantization; angular distance.",
        ABX,
    ),
    (
        "Boundaries of phones within 20 ms",
        "Where the unit changes, and after duration-penalised segmentation (its weight, in mean squared "
        "quantization errors, is that of the best R-value on the valid split).",
        (("runs: F1", "runs_f1", ".3f"), ("R-value", "runs_r_value", ".3f"), ("over", "runs_over", "+.2f"),
         ("segments: weight", "dpdp_weight", ".1f"), ("precision", "dpdp_precision", ".3f"),
         ("recall", "dpdp_recall", ".3f"), ("F1", "dpdp_f1", ".3f"), ("R-value", "dpdp_r_value", ".3f"),
         ("over", "dpdp_over", "+.2f")),
    ),
    (
        "What a unit says about the voice",
        "Bits a frame; chance is the mean of 20 dealings of recordings to voices at random.",
        (("I(unit; speaker)", "speaker_information", ".3f"), ("by chance", "speaker_chance", ".3f"),
         ("H(speaker)", "speaker_entropy", ".3f")),
    ),
)  # fmt: skip


def page(rows: Sequence[Row], sizes: Mapping[str, int]) -> str:
    """Markdown of all tables."""
    first = rows[0]
    lines = [
        "# Unit discovery: what came out",
        "",
        f"Made by `{COMMAND}`. {first['recordings']} held-out recordings of flite's voices "
        f"({first['frames']} frames, "
        f"{first['codes']} units, {first['rate']:g} frames a second); k-means and the map to phones from "
        f"{sizes['train']} recordings of the train split.",
    ]
    for title, about, columns in TABLES:
        lines += ["", f"## {title}", "", about, "", *_table(rows, columns)]
    return "\n".join([*lines, ""])


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    head = ["", *(shown for shown, _, _ in columns)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [str(row["name"]), *(format(row[key], form) for _, key, form in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
