"""How well units and phones agree, frame by frame.

With P(y, u) the joint distribution of phones y (rows) and units u (columns) over frames (Hsu et al. 2021,
"HuBERT", section IV-D; `eps` is the constant that fairseq's script adds inside its logarithms):

    phone purity    sum over u of max over y of P(y, u)    accuracy of the best map of units to phones
    cluster purity  sum over y of max over u of P(y, u)    how far each phone has one unit
    PNMI            I(y; u) / H(y)                         share of the phone's information in the unit

Purity rises with the number of units, so it means little without that number, the rate and the PNMI.
Homogeneity is the PNMI by another name, completeness I / H(u), and the V-measure the arithmetic NMI.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from speechvq.errors import BadSetting, MissingExtra
from speechvq.score.streams import Stream
from speechvq.score.tables import two_columns

FAIRSEQ = 1e-8
"""What fairseq's measure_teacher_quality.py adds inside logarithms."""


@dataclass(frozen=True, eq=False)
class Joint:
    """How often each phone meets each unit.

    Attributes:
        phones: (P,) names of the rows, in alphabetical order.
        units: (U,) ids of the columns, ascending.
        counts: (P, U) int64 frames; no row and no column is empty.
        unlabelled: frames that were left out because no phone is known for them.
    """

    phones: tuple[str, ...]
    units: tuple[int, ...]
    counts: np.ndarray
    unlabelled: int = 0

    @property
    def frames(self) -> int:
        """Frames counted."""
        return int(self.counts.sum())

    @property
    def given_unit(self) -> np.ndarray:
        """(P, U): P(phone | unit); every column sums to one."""
        return self.counts / self.counts.sum(0)

    @property
    def order(self) -> np.ndarray:
        """(U,) places of the columns, by their most probable phone and then by how probable it is."""
        best = self.given_unit
        return np.lexsort((np.asarray(self.units), -best.max(0), best.argmax(0)))

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column numbers (frames,) of each frame, in no particular order."""
        rows, cols = np.nonzero(self.counts)
        times = self.counts[rows, cols]
        return np.repeat(rows, times), np.repeat(cols, times)


def joint_counts(streams: Iterable[Stream]) -> Joint:
    """Count the frames of all streams together; frames without a phone are left out."""
    phones: list[str | None] = []
    units: list[np.ndarray] = []
    for stream in streams:
        phones += stream.phone_frames()
        units.append(stream.units)
    return joint(phones, np.concatenate(units) if units else np.zeros(0, dtype=np.int64))


def joint(phones: Sequence[str | None], units: Sequence[int] | np.ndarray) -> Joint:
    """Count pairs of phone and unit, one a frame; pairs whose phone is None are left out.

    Raises:
        BadSetting: the lengths differ, or no frame has a phone.
    """
    if len(phones) != len(units):
        raise BadSetting(f"{len(phones)} phones and {len(units)} units cannot be frames of the same speech")
    known = np.array([phone is not None for phone in phones], dtype=bool)
    if not known.any():
        raise BadSetting("no frame has a phone; give alignments of these recordings")
    names, rows = np.unique(np.array([p for p in phones if p is not None]), return_inverse=True)
    ids, cols = np.unique(np.asarray(units, dtype=np.int64)[known], return_inverse=True)
    flat = np.bincount(rows * len(ids) + cols, minlength=len(names) * len(ids))
    counts = flat.reshape(len(names), len(ids))
    return Joint(tuple(names.tolist()), tuple(ids.tolist()), counts, int((~known).sum()))


def entropy(counts: np.ndarray, *, eps: float = 0.0) -> float:
    """Nats of a distribution given by counts; ``eps`` is added inside the logarithm."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p + eps)).sum())


def mutual_information(counts: np.ndarray, *, eps: float = 0.0) -> float:
    """Nats that rows tell about columns, of counts (P, U); ``eps`` is added inside the logarithm."""
    p = counts / counts.sum()
    apart = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / apart[seen] + eps)).sum())


@dataclass(frozen=True)
class Agreement:
    """What units say about phones and phones about units; shares in [0, 1], information in nats.

    Attributes:
        frames: frames with a phone.
        phones: kinds of phone that occur.
        units: kinds of unit that occur.
        phone_purity: accuracy when each unit is read as its most frequent phone.
        cluster_purity: accuracy when each phone is read as its most frequent unit.
        mutual_information: I(phone; unit).
        phone_entropy: H(phone).
        unit_entropy: H(unit).
        pnmi: I / H(phone); 1 when there is but one phone.
        unit_nmi: I / H(unit); 1 when there is but one unit.
        nmi: I over the arithmetic mean of both entropies.
        homogeneity: of units in phones, scikit-learn's.
        completeness: of phones in units, scikit-learn's.
        v_measure: their harmonic mean.
        ami: mutual information above chance (Vinh et al. 2010), arithmetic mean; about 0 for chance.
        ari: Rand index above chance (Hubert and Arabie 1985); about 0 for chance.
        one_to_one: accuracy under the best map of units to phones that uses each but once (Hungarian).
    """

    frames: int
    phones: int
    units: int
    phone_purity: float
    cluster_purity: float
    mutual_information: float
    phone_entropy: float
    unit_entropy: float
    pnmi: float
    unit_nmi: float
    nmi: float
    homogeneity: float
    completeness: float
    v_measure: float
    ami: float
    ari: float
    one_to_one: float

    def table(self) -> Table:
        """The figures for a terminal."""
        shown = (
            ("frames", f"{self.frames}"), ("phones × units", f"{self.phones} × {self.units}"),
            ("phone purity", f"{self.phone_purity:.4f}"), ("cluster purity", f"{self.cluster_purity:.4f}"),
            ("PNMI = homogeneity", f"{self.pnmi:.4f}"), ("I/H(unit) = completeness", f"{self.unit_nmi:.4f}"),
            ("NMI = V-measure", f"{self.nmi:.4f}"), ("AMI", f"{self.ami:.4f}"), ("ARI", f"{self.ari:.4f}"),
            ("one-to-one accuracy", f"{self.one_to_one:.4f}"),
            ("I, H(phone), H(unit) in nats", f"{self.mutual_information:.4f}, {self.phone_entropy:.4f}, "
             f"{self.unit_entropy:.4f}"),
        )  # fmt: skip
        return two_columns("Units and phones", shown)


def agreement(joint: Joint, *, eps: float = 0.0) -> Agreement:
    """Every score of a table of counts.

    Args:
        joint: the counts.
        eps: added inside logarithms of entropies and information; `FAIRSEQ` gives fairseq's figures.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingExtra("scikit-learn", "score", "the agreement of units and phones") from error
    counts = joint.counts
    about = mutual_information(counts, eps=eps)
    phones, units = entropy(counts.sum(1), eps=eps), entropy(counts.sum(0), eps=eps)
    true, found = joint.labels()
    homogeneity, completeness, v = metrics.homogeneity_completeness_v_measure(true, found)
    return Agreement(
        frames=joint.frames,
        phones=len(joint.phones),
        units=len(joint.units),
        phone_purity=float(counts.max(0).sum() / counts.sum()),
        cluster_purity=float(counts.max(1).sum() / counts.sum()),
        mutual_information=about,
        phone_entropy=phones,
        unit_entropy=units,
        pnmi=_share(about, phones),
        unit_nmi=_share(about, units),
        nmi=_share(about, (phones + units) / 2),
        homogeneity=float(homogeneity),
        completeness=float(completeness),
        v_measure=float(v),
        ami=float(metrics.adjusted_mutual_info_score(true, found)),
        ari=float(metrics.adjusted_rand_score(true, found)),
        one_to_one=sum(int(counts[y, u]) for y, u in one_to_one(joint)) / joint.frames,
    )


def one_to_one(joint: Joint) -> list[tuple[int, int]]:
    """(row, column) pairs that put the most frames together, each row and column at most once."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtra("scipy", "score", "the one-to-one map of units and phones") from error
    rows, cols = linear_sum_assignment(joint.counts, maximize=True)
    return list(zip(rows.tolist(), cols.tolist(), strict=True))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 1e-7 else 1.0  # 1e-7: fairseq's entropy of one kind is not quite 0
