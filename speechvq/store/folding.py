"""Smaller sets of phones: no stress, one silence, and TIMIT's 61 labels folded to the usual 39 classes.

The 39 are those of Lee and Hon, "Speaker-independent phone recognition using hidden Markov models" (1989).
The same folding brings any two ARPAbet alignments (TIMIT, MFA, pocketsphinx, flite) to one set.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from speechvq.errors import BadSetting
from speechvq.store.intervals import Interval

SILENCE = "SIL"
SILENCES = (
    "", "sil", "sp", "pau", "pause", "silence", "h#", "#", "epi", "<sil>", "<s>", "</s>", "<eps>", "<p:>",
    "{b_trans}", "{e_trans}",
)  # fmt: skip
STRESSED = re.compile(r"(aa|ae|ah|ao|aw|ax|ay|eh|er|ey|ih|iy|ow|oy|uh|uw)[012]", re.IGNORECASE)
_ALIKE = {
    "aa": "ao", "ah": "ax ax-h", "er": "axr", "hh": "hv", "ih": "ix", "l": "el", "m": "em", "n": "en nx",
    "ng": "eng", "sh": "zh", "uw": "ux", SILENCE: "pcl tcl kcl bcl dcl gcl",
}  # fmt: skip
_ALONE = "ae aw ay b ch d dh dx eh ey f g iy jh k ow oy p r s t th uh v w y z"
FOLDED = {label: label for label in (*_ALONE.split(), *_ALIKE)} | {
    label: kept for kept, labels in _ALIKE.items() for label in labels.split()
}
"""Lower-case ARPAbet label to its class among the 39 (the closures and pauses are `SILENCE`)."""


@dataclass(frozen=True)
class Folding:
    """How labels are made equal; what no rule names stays as it is.

    Raises:
        BadSetting: ``silences`` is one text instead of several.
    """

    strip_stress: bool = True  # AH0, AH1, AH2 become AH
    timit39: bool = False  # ARPAbet to 39 classes in lower case, without the glottal stop q
    silences: tuple[str, ...] = SILENCES  # these, in any case, become SIL; SILs that touch become one

    def __post_init__(self) -> None:
        if isinstance(self.silences, str):
            raise BadSetting("silences must be several labels, such as ('sil', 'sp'), not one text")
        object.__setattr__(self, "silences", tuple(label.lower() for label in self.silences))

    def label(self, label: str) -> str | None:
        """What becomes of a label; None: it is left out."""
        if label.lower() in self.silences:
            return SILENCE
        if (self.strip_stress or self.timit39) and STRESSED.fullmatch(label):
            label = label[:-1]
        if not self.timit39:
            return label
        return None if label.lower() == "q" else FOLDED.get(label.lower(), label)

    def fold(self, intervals: Iterable[Interval]) -> tuple[Interval, ...]:
        """The intervals with their new labels."""
        folded: list[Interval] = []
        for interval in intervals:
            label = self.label(interval.label)
            if label is None:
                continue
            last = folded[-1] if folded else None
            if last and label == last.label == SILENCE and interval.start <= last.end:
                folded[-1] = Interval(SILENCE, last.start, interval.end)
            else:
                folded.append(Interval(label, interval.start, interval.end))
        return tuple(folded)
