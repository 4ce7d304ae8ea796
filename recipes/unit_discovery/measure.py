"""Every figure of one way to have units, from its streams alone: one row of the table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechvq.errors import BadSetting
from speechvq.score.abx import AbxSettings, abx
from speechvq.score.dpdp import segment_stream
from speechvq.score.items import stream_items
from speechvq.score.language import code_scores
from speechvq.score.phonemes import phoneme_experiment
from speechvq.score.probes import probes
from speechvq.score.segments import boundary_scores
from speechvq.score.streams import Stream
from speechvq.score.units import agreement, joint_counts
from speechvq.score.voices import speaker_use

WEIGHTS = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Weights of the segmentation, in mean squared quantization errors; the best on the valid split is taken."""

GENDERS = {
    "kal16": "man", "awb": "man", "rms": "man", "slt": "woman", "en_allison": "woman", "es_allison": "woman",
    "fr_june": "woman", "it_carlo": "man", "ru_ivrvoice": "woman",
}  # fmt: skip
"""Of the voices of flite and Asterisk, for the probes."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One way to have units, with the streams it is scored by.

    Attributes:
        name: as in the table.
        codes: (K, D) the vector of each unit.
        train: speech of the train split, from which units are mapped to phones.
        valid: speech on which the weight of the segmentation is chosen.
        test: held-out speech, which is scored.
    """

    name: str
    codes: np.ndarray
    train: Sequence[Stream]
    valid: Sequence[Stream]
    test: Sequence[Stream]


type Row = dict[str, float | str]
"""Name of a figure to its value."""


def row(units: Encoded) -> Row:
    """All figures; shares in [0, 1], ABX in percent, information in bits a frame."""
    scored = joint_counts(units.test)
    code, agreed = code_scores(units.test, len(units.codes)), agreement(scored)
    read, voices = (
        phoneme_experiment(scored, joint_counts(units.train)),
        speaker_use(units.test, permutations=20),
    )
    found: Row = {
        "name": units.name, "codes": len(units.codes), "recordings": len(units.test), "frames": scored.frames,
        "rate": units.test[0].frame_rate, "bitrate": code.bitrate, "usage": code.usage,
        "perplexity": code.perplexity, "deduplicated_bitrate": code.deduplicated_bitrate,
        "pnmi": agreed.pnmi, "phone_purity": agreed.phone_purity, "cluster_purity": agreed.cluster_purity,
        "v_measure": agreed.v_measure, "ami": agreed.ami, "one_to_one": agreed.one_to_one,
        "classes": read.classes, "accuracy_same_data": read.same_data,
        "accuracy_held_out": read.held_out or 0.0, "majority": read.majority,
        "accuracy_majority": read.majority_accuracy, "unseen": read.unseen or 0.0,
        "speaker_information": voices.information, "speaker_chance": voices.by_chance or 0.0,
        "speaker_entropy": voices.speaker_entropy,
    }  # fmt: skip
    return found | _segments(units) | _abx(units.test) | _probes(units.test)


def _segments(units: Encoded) -> Row:
    """Boundaries of the runs, and after duration-penalised segmentation."""
    runs = boundary_scores(units.test)
    vectors = [(s.latents, s.quantized) for s in units.valid]
    error = float(
        np.mean([((a - b) ** 2).sum(1).mean() for a, b in vectors if a is not None and b is not None])
    )
    ways = {w: boundary_scores(_cut(units.valid, units.codes, w * error)).r_value for w in WEIGHTS}
    weight = max(ways, key=lambda w: ways[w])
    cut = boundary_scores(_cut(units.test, units.codes, weight * error))
    return {
        "runs_f1": runs.f1, "runs_r_value": runs.r_value, "runs_over": runs.over_segmentation,
        "dpdp_weight": weight, "dpdp_precision": cut.precision, "dpdp_recall": cut.recall, "dpdp_f1": cut.f1,
        "dpdp_r_value": cut.r_value, "dpdp_over": cut.over_segmentation,
    }  # fmt: skip


def _cut(streams: Sequence[Stream], codes: np.ndarray, weight: float) -> list[Stream]:
    return [segment_stream(stream, codes, weight=weight) for stream in streams]


def _abx(streams: Sequence[Stream]) -> Row:
    """Triphones, within and across speakers: of bare units, of their vectors, of the vectors before."""
    items = stream_items(streams)
    found: Row = {"abx_items": len(items)}
    for name in ("one-hot", "quantized", "latents"):
        for speaker in ("within", "across")[: len({stream.speaker for stream in streams})]:
            try:
                score = abx(streams, items, representation=name, settings=AbxSettings(speaker=speaker))
            except BadSetting:  # there is too little speech for a triple of triphones
                continue
            found[f"abx_{name}_{speaker}"] = score.error
    return found


def _probes(streams: Sequence[Stream]) -> Row:
    """What small classifiers read from a frame, before and after quantization."""
    found: Row = {}
    for score in probes(streams, genders=GENDERS):
        found[f"probe_{score.target}_{score.kind}_{score.vectors}"] = score.accuracy
        found[f"probe_{score.target}_majority"] = score.majority
    return found
