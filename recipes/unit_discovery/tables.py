"""The tables of results.md: which figure stands in which column, and how it is written."""

from collections.abc import Sequence

from measure import Row

from speechvq.score.phonemes import PAPER_ACCURACY, PAPER_CLASSES, PAPER_MAJORITY

type Column = tuple[str, str, str]
"""Heading, name of the figure, format."""
type Table = tuple[str, str, tuple[Column, ...]]
"""Heading, what the figures are, columns."""

_ABX: tuple[Column, ...] = tuple(
    (f"{shown}, {speaker}", f"abx_{name}_{speaker}", ".2f")
    for shown, name in (("units", "one-hot"), ("their vectors", "quantized"), ("before", "latents"))
    for speaker in ("within", "across")
)


def _probe(target: str) -> tuple[Column, ...]:
    return (
        ("linear: before", f"probe_{target}_linear_latents", ".1%"),
        ("after", f"probe_{target}_linear_quantized", ".1%"),
        ("MLP: before", f"probe_{target}_mlp_latents", ".1%"),
        ("after", f"probe_{target}_mlp_quantized", ".1%"),
        ("majority", f"probe_{target}_majority", ".1%"),
    )


PAPER: Row = {
    "name": "VQ-VAE paper: 128 codes, 25 Hz, recorded speech", "classes": PAPER_CLASSES,
    "accuracy_same_data": PAPER_ACCURACY, "accuracy_majority": PAPER_MAJORITY,
}  # fmt: skip
"""Beside ours in the table of the phoneme experiment, which is the only one with its figures."""
READ = "Units read as phones"
PHONES: tuple[Table, ...] = (
    (
        "Units and phones",
        "Bits by the rule of ZeroSpeech 2019; runs: each run of equal units sent once, without its duration.",
        (("bit/s", "bitrate", ".0f"), ("runs, bit/s", "deduplicated_bitrate", ".0f"),
         ("used", "usage", ".0%"), ("perplexity", "perplexity", ".0f"), ("PNMI", "pnmi", ".3f"),
         ("phone purity", "phone_purity", ".3f"), ("cluster purity", "cluster_purity", ".3f"),
         ("AMI", "ami", ".3f"), ("V-measure", "v_measure", ".3f"), ("one-to-one", "one_to_one", ".3f")),
    ),
    (
        READ,
        "Each unit is read as its most probable phone: the phoneme experiment of van den Oord et al. (2017), "
        "whose map and score are of the same frames.",
        (("classes", "classes", ".0f"), ("map from the same frames", "accuracy_same_data", ".1%"),
         ("map from the train split", "accuracy_held_out", ".1%"),
         ("majority class", "accuracy_majority", ".1%")),
    ),
    (
        "ABX error in %, triphones",
        "50 is chance. Bare units (one-hot), the vectors that they stand for, and the vectors before "
        "quantization; angular distance.",
        _ABX,
    ),
    (
        "The phone that a classifier reads from one frame",
        "Share of frames of held-out recordings that are named right, before and after quantization; this "
        "should survive it.",
        _probe("phone"),
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
)  # fmt: skip
VOICE: tuple[Table, ...] = (
    (
        "What a unit says about the voice",
        "Bits a frame; chance is the mean of 20 dealings of recordings to voices at random.",
        (("I(unit; speaker)", "speaker_information", ".3f"), ("by chance", "speaker_chance", ".3f"),
         ("H(speaker)", "speaker_entropy", ".3f")),
    ),
    (
        "The voice that a classifier reads from one frame",
        "As for phones; this should not survive quantization.",
        _probe("speaker"),
    ),
    ("Woman or man, likewise", "One woman and three men.", _probe("gender")),
)  # fmt: skip
VOICES: tuple[Column, ...] = (
    ("recordings", "recordings", "d"), ("seconds", "seconds", ".0f"), ("used", "usage", ".0%"),
    ("perplexity", "perplexity", ".0f"), ("bit/s", "bitrate", ".0f"),
    ("runs, bit/s", "deduplicated_bitrate", ".0f"), ("their durations", "duration_bitrate", ".0f"),
    ("a run, ms", "run_mean", ".1f"), ("runs over 20 ms", "longer", ".0%"),
    ("bits apart", "bits_apart", ".3f"),
)  # fmt: skip
ALIKE: tuple[Column, ...] = (
    ("AMI", "ami", ".3f"), ("ARI", "ari", ".3f"), ("V-measure", "v_measure", ".3f"),
    ("one-to-one", "one_to_one", ".1%"),
)  # fmt: skip


def table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Lines of Markdown; columns that no row has are left out, what one row lacks is empty."""
    shown = [column for column in columns if any(column[1] in row for row in rows)]
    lines = [
        f"| {' | '.join(['', *(heading for heading, _, _ in shown)])} |",
        f"|{'---|' * (len(shown) + 1)}",
    ]
    for row in rows:
        cells = [str(row["name"]), *(format(row[k], form) if k in row else "" for _, k, form in shown)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def sections(tables: Sequence[Table], rows: Sequence[Row], level: int = 2) -> list[str]:
    """Tables with their headings and what the figures are, without those that no row has a figure of."""
    lines = []
    for heading, about, columns in tables:
        if not any(name in row for row in rows for _, name, _ in columns):
            continue
        shown = [*rows, PAPER] if heading == READ else rows
        lines += ["", f"{'#' * level} {heading}", "", about, "", *table(shown, columns)]
    return lines
