"""What a scored conversion run holds, and how it becomes JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.table import Table

from speechvq.score.codes import CodeScores, Run
from speechvq.score.pairs import Row
from speechvq.score.summary import Summary, plain_row, summarise, table


@dataclass(frozen=True)
class About:
    """Where the figures come from."""

    command: str  # what was typed
    codec: str  # the codec's fingerprint
    frame_rate: float  # frames of codes a second
    codebook_size: int  # codes in each codebook
    num_codebooks: int  # codes in a frame
    machine: str  # processor, system and versions
    judges: str = "Whisper tiny.en (int8, beam 5), Resemblyzer, DNSMOS P.835, Praat pitch"


@dataclass(frozen=True)
class ConversionScores:
    """Every conversion with its scores.

    Attributes:
        rows: one a conversion.
        codes: how the sources' codes use the codebook.
        about: where the figures come from.
        groups: voice to group name, for the summary.
        units: per (voice, utterance), the runs of units of the source; times in frames.
    """

    rows: tuple[Row, ...]
    codes: CodeScores
    about: About
    groups: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[tuple[str, str], Sequence[Run]] = field(default_factory=dict)

    @property
    def summary(self) -> list[Summary]:
        """Medians and shares: all together first, then by source and target group."""
        return summarise(self.rows, self.groups)

    def table(self) -> Table:
        """The summary for a terminal."""
        return table(self.summary)

    def as_json(self) -> str:
        """Everything but the sound, as JSON."""
        units = [
            {"speaker": speaker, "utterance": utterance, "runs": [[*r.unit, r.start, r.end] for r in found]}
            for (speaker, utterance), found in self.units.items()
        ]
        parts = {
            "about": asdict(self.about),
            "codes": asdict(self.codes),
            "summary": [asdict(item) for item in self.summary],
            "rows": [plain_row(row) for row in self.rows],
            "units": units,
        }
        return json.dumps(parts, ensure_ascii=False, indent=1)
