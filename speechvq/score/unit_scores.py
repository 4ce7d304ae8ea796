"""Every score of a set of unit streams, in one object, and as JSON."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import RenderableType

from speechvq.errors import BadSetting
from speechvq.score.abx import AbxScore, AbxSettings, abx
from speechvq.score.codes import CodeScores
from speechvq.score.dpdp import segment_stream
from speechvq.score.items import stream_items
from speechvq.score.language import (
    Durations,
    NGrams,
    Zipf,
    code_scores,
    ngram_table,
    ngrams,
    phone_durations,
    unit_durations,
    unit_sequences,
    zipf,
)
from speechvq.score.phonemes import (
    PhonemeExperiment,
    PhoneRow,
    UnitRow,
    phone_rows,
    phoneme_experiment,
    unit_rows,
)
from speechvq.score.probes import ProbeScore, ProbeSettings, probe_table, probes, split_recordings
from speechvq.score.segments import BoundaryScores, boundary_scores
from speechvq.score.streams import Stream
from speechvq.score.tables import columns, two_columns
from speechvq.score.units import Agreement, Joint, agreement, joint_counts
from speechvq.score.voices import SpeakerUse, speaker_use

PENALTY = 4.0
"""Weight of a frame in duration-penalised segmentation, in mean squared quantization errors."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UnitScores:
    """What the units of some recordings are; what needs phones is None or empty without them.

    Attributes:
        joint: how often each phone meets each unit.
        agreement: the scores of that table.
        experiment: codes read as phones, on the recordings that probes are scored on.
        boundaries: changes of unit against changes of phone.
        segmented: the same after duration-penalised segmentation; None for several codebooks.
        codes: use of the codebook and bitrates.
        ngrams: of one, two and three units, without repeats.
        zipf: rank and frequency.
        unit_durations: of runs of a unit.
        phone_durations: of phones.
        speakers: use of the units by speaker.
        probes: what small classifiers read from a frame.
        abx: within and across speakers, if asked for.
        units: what each unit is, the most frequent first.
        phones: what each phone is, the best found first.
        seconds: of all recordings.
        recordings: how many there are.
    """

    joint: Joint | None
    agreement: Agreement | None
    experiment: PhonemeExperiment | None
    boundaries: BoundaryScores | None
    segmented: BoundaryScores | None
    codes: CodeScores
    ngrams: tuple[NGrams, ...]
    zipf: Zipf
    unit_durations: Durations
    phone_durations: Durations | None
    speakers: SpeakerUse
    probes: tuple[ProbeScore, ...]
    abx: tuple[AbxScore, ...]
    units: tuple[UnitRow, ...]
    phones: tuple[PhoneRow, ...]
    seconds: float
    recordings: int

    def tables(self) -> list[RenderableType]:
        """The figures for a terminal."""
        codes = self.codes
        shown: list[RenderableType] = [
            two_columns(
                f"Units of {self.recordings} recordings, {self.seconds:.0f} s",
                (
                    ("bitrate (ZeroSpeech 2019)", f"{codes.bitrate:.1f} bit/s"),
                    ("bitrate without repeats", f"{codes.deduplicated_bitrate:.1f} bit/s"),
                    (
                        "and with durations",
                        f"{codes.deduplicated_bitrate + codes.duration_bitrate:.1f} bit/s",
                    ),
                    ("codebook used", f"{codes.usage:.1%}"),
                    ("perplexity", f"{codes.perplexity:.1f}"),
                    ("Zipf's slope", f"{self.zipf.slope:.2f}"),
                ),
            )
        ]
        held = (self.agreement, self.experiment, self.boundaries, self.speakers)
        shown += [score.table() for score in held if score is not None]
        if self.segmented is not None:
            after = self.segmented.table()
            after.title = f"{after.title}, after duration-penalised segmentation"
            shown.append(after)
        shown.append(ngram_table(self.ngrams, "n-grams of units, without repeats"))
        if self.probes:
            shown.append(probe_table(self.probes))
        if self.abx:
            shown.append(abx_table(self.abx))
        return shown

    def as_json(self, about: Mapping[str, Any]) -> str:
        """Everything but the counts (they are in ``joint.csv``), as JSON; ``about`` comes first."""
        plain: dict[str, Any] = {"about": dict(about)}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name == "joint":
                continue
            if isinstance(value, tuple):
                plain[name] = [asdict(item) for item in value]
            else:
                plain[name] = asdict(value) if hasattr(value, "__dataclass_fields__") else value
        plain["zipf"].pop("ranks")  # the units tell it
        return json.dumps(plain, ensure_ascii=False, indent=1) + "\n"


def score_units(
    streams: Sequence[Stream],
    *,
    codebook_size: int,
    codes: np.ndarray | None = None,
    genders: Mapping[str, str] | None = None,
    with_abx: bool = False,
    settings: ProbeSettings = ProbeSettings(),  # noqa: B008 (frozen)
) -> UnitScores:
    """Everything that can be said of these streams.

    Args:
        streams: recordings, with vectors if probes are wanted.
        codebook_size: codes in each codebook.
        codes: (codebook_size, D) code vectors, for duration-penalised segmentation; None: without.
        genders: speaker to gender, for the probes.
        with_abx: ABX of triphones before and after quantization, within and across speakers.
        settings: of the probes.

    Raises:
        BadSetting: there are no frames.
        MissingExtra: a library of the extra ``score`` is not installed.
    """
    streams = [stream for stream in streams if len(stream)]
    if not streams:
        raise BadSetting("there are no units to score; give recordings long enough for one frame")
    known = [stream for stream in streams if stream.phones]
    joint = joint_counts(known) if known else None
    vectors = all(stream.latents is not None for stream in streams)
    sequences = unit_sequences(streams, repeats=False)
    longest = max(map(len, sequences))
    return UnitScores(
        joint=joint,
        agreement=None if joint is None else agreement(joint),
        experiment=_experiment(known, settings),
        boundaries=boundary_scores(known) if known else None,
        segmented=_segmented(known, codes) if known and vectors and codes is not None else None,
        codes=code_scores(streams, codebook_size),
        ngrams=tuple(ngrams(sequences, order) for order in (1, 2, 3) if order <= longest),
        zipf=zipf(unit_sequences(streams)),
        unit_durations=unit_durations(streams),
        phone_durations=phone_durations(known) if known else None,
        speakers=speaker_use(streams, permutations=20, seed=settings.seed),
        probes=tuple(_probes(streams, genders, settings)) if vectors else (),
        abx=tuple(_abx(known, vectors)) if with_abx else (),
        units=tuple(unit_rows(streams)),
        phones=tuple(phone_rows(joint)) if joint is not None else (),
        seconds=sum(stream.seconds for stream in streams),
        recordings=len(streams),
    )


def _experiment(known: Sequence[Stream], settings: ProbeSettings) -> PhonemeExperiment | None:
    if not known:
        return None
    try:
        train, test = split_recordings(known, settings.held_out, seed=settings.seed)
        return phoneme_experiment(joint_counts(test), joint_counts(train))
    except BadSetting:  # too few recordings to hold any out
        return phoneme_experiment(joint_counts(known))


def _segmented(known: Sequence[Stream], codes: np.ndarray) -> BoundaryScores:
    errors = [((s.latents - s.quantized) ** 2).sum(1) for s in known if s.latents is not None]
    weight = PENALTY * float(np.concatenate(errors).mean())
    return boundary_scores([segment_stream(stream, codes, weight=weight) for stream in known])


def _probes(
    streams: Sequence[Stream], genders: Mapping[str, str] | None, settings: ProbeSettings
) -> list[ProbeScore]:
    try:
        return probes(streams, genders=genders, settings=settings)
    except BadSetting as error:
        log.warning("no probes: %s", error)
        return []


def _abx(known: Sequence[Stream], vectors: bool) -> list[AbxScore]:
    """Triphones within and across speakers; what the recordings have no triples for is left out."""
    found, items = [], stream_items(known)
    for representation in ("latents", "quantized", "one-hot") if vectors else ("one-hot",):
        for speaker in ("within", "across"):
            try:
                found.append(
                    abx(known, items, representation=representation, settings=AbxSettings(speaker=speaker))
                )
            except BadSetting as error:
                log.warning("no ABX of %s %s speakers: %s", representation, speaker, error)
    return found


def abx_table(scores: Sequence[AbxScore]) -> RenderableType:
    """ABX errors for a terminal."""
    shown = ((f"{s.task}, {s.representation}", s.speaker, f"{s.error:.2f}", f"{s.triples}") for s in scores)
    return columns("ABX error in %", ("", "speakers", "error", "triples"), shown)
