"""Units read as phones: the phoneme experiment of the VQ-VAE paper, and what each unit and phone is.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.3) maps each of 128 codes at
25 Hz to its most probable of 41 phoneme classes (39 phones, silence and noise) and reads 49.3 % of frames
right, where always saying the most frequent class reads 7.2 %. There the map is made from the frames it is
scored on, which flatters many codes and little speech; so a map made from other speech is scored too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from rich.table import Table

from speechvq.score.segments import collapse
from speechvq.score.streams import Stream
from speechvq.score.tables import columns, two_columns
from speechvq.score.units import Joint, joint_counts

PAPER_ACCURACY, PAPER_MAJORITY, PAPER_CLASSES = 0.493, 0.072, 41


@dataclass(frozen=True)
class PhonemeExperiment:
    """How many frames are read right when each code is read as one phone; accuracies in [0, 1].

    Attributes:
        frames: frames scored.
        classes: kinds of phone among them; the paper had 41.
        units: kinds of unit among them.
        same_data: accuracy of the map made from the scored frames themselves: the phone purity.
        majority: the most frequent phone of the scored frames.
        majority_accuracy: accuracy of always saying it.
        held_out: accuracy of the map made from other speech; None: there was none.
        held_out_majority: the most frequent phone of the other speech.
        held_out_majority_accuracy: accuracy on the scored frames of always saying that one.
        unseen: share of scored frames whose unit the other speech lacks, read as its majority.
    """

    frames: int
    classes: int
    units: int
    same_data: float
    majority: str
    majority_accuracy: float
    held_out: float | None = None
    held_out_majority: str | None = None
    held_out_majority_accuracy: float | None = None
    unseen: float | None = None

    def table(self) -> Table:
        """The figures for a terminal, beside the paper's."""
        rows = [
            ("frames, units, classes", f"{self.frames}, {self.units}, {self.classes}"),
            ("map from the same frames", f"{self.same_data:.1%}"),
            (f"always {self.majority!r}", f"{self.majority_accuracy:.1%}"),
        ]
        if self.held_out is not None:
            rows += [
                ("map from other speech", f"{self.held_out:.1%}"),
                (f"always {self.held_out_majority!r}", f"{self.held_out_majority_accuracy:.1%}"),
                ("frames with a unit not seen there", f"{self.unseen:.1%}"),
            ]
        paper = f"{PAPER_ACCURACY:.1%} over {PAPER_MAJORITY:.1%}, {PAPER_CLASSES} classes"
        return two_columns("Codes read as phones", [*rows, ("paper (128 codes at 25 Hz)", paper)])


def phone_map(joint: Joint) -> dict[int, str]:
    """Each unit's most frequent phone; of equally frequent ones the first in the alphabet."""
    best = joint.counts.argmax(0)
    return {unit: joint.phones[row] for unit, row in zip(joint.units, best.tolist(), strict=True)}


def majority_phone(joint: Joint) -> str:
    """The most frequent phone of all; of equally frequent ones the first in the alphabet."""
    return joint.phones[int(joint.counts.sum(1).argmax())]


def accuracy(joint: Joint, mapping: Mapping[int, str], *, otherwise: str) -> float:
    """Share of frames whose phone ``mapping`` names by their unit; a unit it lacks is read ``otherwise``."""
    rows = {phone: row for row, phone in enumerate(joint.phones)}
    said = [rows.get(mapping.get(unit, otherwise)) for unit in joint.units]
    right = sum(int(joint.counts[row, col]) for col, row in enumerate(said) if row is not None)
    return right / joint.frames


def phoneme_experiment(scored: Joint, fitted: Joint | None = None) -> PhonemeExperiment:
    """The paper's experiment on the frames ``scored``, with a second map from the frames ``fitted``."""
    majority = majority_phone(scored)
    plain = PhonemeExperiment(
        frames=scored.frames,
        classes=len(scored.phones),
        units=len(scored.units),
        same_data=accuracy(scored, phone_map(scored), otherwise=majority),
        majority=majority,
        majority_accuracy=accuracy(scored, {}, otherwise=majority),
    )
    if fitted is None:
        return plain
    known, other = phone_map(fitted), majority_phone(fitted)
    missing = [col for col, unit in enumerate(scored.units) if unit not in known]
    return PhonemeExperiment(
        frames=plain.frames,
        classes=plain.classes,
        units=plain.units,
        same_data=plain.same_data,
        majority=plain.majority,
        majority_accuracy=plain.majority_accuracy,
        held_out=accuracy(scored, known, otherwise=other),
        held_out_majority=other,
        held_out_majority_accuracy=accuracy(scored, {}, otherwise=other),
        unseen=int(scored.counts[:, missing].sum()) / scored.frames,
    )


@dataclass(frozen=True)
class PhoneRow:
    """One phone and the single unit that finds it best.

    Attributes:
        phone: its name.
        frames: how many frames it has.
        unit: the unit of the highest F1.
        precision: share of the unit's frames that are the phone's.
        recall: share of the phone's frames that are the unit's.
        f1: their harmonic mean.
    """

    phone: str
    frames: int
    unit: int
    precision: float
    recall: float
    f1: float


def phone_rows(joint: Joint) -> list[PhoneRow]:
    """One row a phone, the best found first; F1 = 2 n / (frames of the phone + frames of the unit)."""
    rows, cols = joint.counts.sum(1), joint.counts.sum(0)
    f1 = 2 * joint.counts / (rows[:, None] + cols)
    found = []
    for row, phone in enumerate(joint.phones):
        col = int(f1[row].argmax())
        both = int(joint.counts[row, col])
        shares = (both / int(cols[col]), both / int(rows[row]), float(f1[row, col]))
        found.append(PhoneRow(phone, int(rows[row]), joint.units[col], *shares))
    return sorted(found, key=lambda row: -row.f1)


def phone_table(rows: Iterable[PhoneRow]) -> Table:
    """`phone_rows` for a terminal."""
    shown = (
        (r.phone, f"{r.frames}", f"{r.unit}", f"{r.precision:.2f}", f"{r.recall:.2f}", f"{r.f1:.2f}")
        for r in rows
    )
    return columns("Phones", ("phone", "frames", "unit", "precision", "recall", "F1"), shown)


@dataclass(frozen=True)
class UnitRow:
    """What one unit is.

    Attributes:
        unit: its id.
        frames: how often it occurs, with or without a phone.
        share: of all frames.
        segments: runs of it.
        median_duration: of its runs, in ms.
        phones: its most frequent phones and their probabilities among its labelled frames.
    """

    unit: int
    frames: int
    share: float
    segments: int
    median_duration: float
    phones: tuple[tuple[str, float], ...]


def unit_rows(streams: Sequence[Stream], *, top: int = 3) -> list[UnitRow]:
    """One row a unit, the most frequent first, with its ``top`` phones (none without alignments)."""
    lengths: dict[int, list[float]] = {}
    for stream in streams:
        for run in collapse(stream):
            lengths.setdefault(run.unit[0], []).append(run.end - run.start)
    milliseconds = 1000 / streams[0].frame_rate if streams else 0.0
    total = sum(sum(found) for found in lengths.values())
    phones = _top_phones(streams, top) if any(stream.phones for stream in streams) else {}
    rows = [
        UnitRow(
            unit=unit,
            frames=round(sum(found)),
            share=sum(found) / total,
            segments=len(found),
            median_duration=median(found) * milliseconds,
            phones=phones.get(unit, ()),
        )
        for unit, found in lengths.items()
    ]
    return sorted(rows, key=lambda row: (-row.frames, row.unit))


def unit_table(rows: Iterable[UnitRow]) -> Table:
    """`unit_rows` for a terminal."""
    shown = (
        (
            str(r.unit), f"{r.share:.2%}", f"{r.median_duration:.0f}",
            ", ".join(f"{phone} {p:.2f}" for phone, p in r.phones),
        )
        for r in rows
    )  # fmt: skip
    return columns("Units", ("unit", "share", "median ms", "phones"), shown)


def _top_phones(streams: Sequence[Stream], top: int) -> dict[int, tuple[tuple[str, float], ...]]:
    counted = joint_counts(streams)
    share, found = counted.given_unit, {}
    for col, unit in enumerate(counted.units):
        best = np.argsort(-share[:, col], kind="stable")[:top]
        found[unit] = tuple((counted.phones[y], float(share[y, col])) for y in best if share[y, col])
    return found
