"""Probes: what a small classifier reads from single frames, before and after quantization.

A probe learns from some recordings to name the phone, the speaker or the gender of a frame, and is scored
on other recordings. Phones should survive quantization and the speaker should not: what a probe still
reads of the voice from the code vectors is what leaks past the bottleneck. Of each voice, some recordings
are learnt from and others scored. A linear probe (multinomial logistic regression) says what is laid out
for reading, one with a hidden layer what is there at all.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from speechvq.errors import BadSetting, MissingExtra
from speechvq.score.linear_probe import logistic
from speechvq.score.streams import Stream
from speechvq.score.tables import columns

VECTORS = ("latents", "quantized")
"""Before and after quantization; also names of the arrays of a `Stream`."""
KINDS = ("linear", "mlp")


@dataclass(frozen=True)
class ProbeSettings:
    """How probes learn.

    Raises:
        BadSetting: a number that makes no probe.
    """

    held_out: float = 0.3  # share of each voice's recordings that is scored and not learnt from, in (0, 1)
    most_frames: int = 12_000  # frames learnt from; more are thinned at random
    hidden: int = 128  # units in the hidden layer of the MLP
    iterations: int = 100  # of either optimiser, at most
    seed: int = 0  # of the split, the thinning and the MLP

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise BadSetting(f"the held-out share {self.held_out} must lie between 0 and 1")
        for name in ("most_frames", "hidden", "iterations"):
            if getattr(self, name) < 1:
                raise BadSetting(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class ProbeScore:
    """What one probe reads; accuracies in [0, 1], on recordings it did not learn from.

    Attributes:
        target: phone, speaker or gender.
        vectors: latents (before quantization) or quantized.
        kind: linear or mlp.
        accuracy: share of frames named right.
        majority: accuracy of always naming what is most frequent among the frames learnt from.
        chance: one over the number of classes.
        by_recording: share of recordings named right by their frames together; None for phones.
        classes: kinds among the frames learnt from.
        train_frames: frames learnt from.
        test_frames: frames scored.
        test_recordings: how many recordings they come from.
    """

    target: str
    vectors: str
    kind: str
    accuracy: float
    majority: float
    chance: float
    by_recording: float | None
    classes: int
    train_frames: int
    test_frames: int
    test_recordings: int


def split_recordings(
    streams: Sequence[Stream], share: float = 0.3, *, seed: int = 0
) -> tuple[list[Stream], list[Stream]]:
    """Recordings to learn from and to score; a voice's only recording is learnt from.

    Of each voice the ``share`` is scored: at least one recording, and never all.

    Raises:
        BadSetting: no voice has two recordings.
    """
    order, voices = random.Random(seed), {}
    for stream in streams:
        voices.setdefault(stream.speaker, []).append(stream)
    train, test = [], []
    for name in sorted(voices):
        found = sorted(voices[name], key=lambda stream: stream.name)
        order.shuffle(found)
        many = min(max(1, round(share * len(found))), len(found) - 1)
        test += found[:many]
        train += found[many:]
    if not test:
        raise BadSetting("probes need a voice with two recordings: one to learn from and one to be scored on")
    return train, test


def probe(
    streams: Sequence[Stream],
    target: str,
    vectors: str = "quantized",
    kind: str = "linear",
    *,
    genders: Mapping[str, str] | None = None,
    settings: ProbeSettings = ProbeSettings(),  # noqa: B008 (frozen)
) -> ProbeScore:
    """Train one probe and score it.

    Args:
        streams: recordings with vectors (``encode_streams(..., vectors=True)``).
        target: phone (frames without one are left out), speaker, or gender.
        vectors: latents or quantized.
        kind: linear or mlp.
        genders: speaker to gender, or to any other group; speakers it lacks are left out.
        settings: how the probe learns.

    Raises:
        BadSetting: an unknown name, streams without vectors, or fewer than two classes.
        MissingExtra: scikit-learn is not installed.
    """
    for name, known in ((target, ("phone", "speaker", "gender")), (vectors, VECTORS), (kind, KINDS)):
        if name not in known:
            raise BadSetting(f"probes know {', '.join(known)}, not {name!r}")
    train, test = split_recordings(streams, settings.held_out, seed=settings.seed)
    learnt, scored = (_frames(some, target, vectors, genders or {}) for some in (train, test))
    if len(classes := np.unique(learnt.labels)) < 2 or not len(scored.labels):
        raise BadSetting(f"a probe for {target} needs at least two classes to learn and a frame to score")
    kept = np.random.default_rng(settings.seed).permutation(len(learnt.labels))[: settings.most_frames]
    x, y = learnt.x_ND[kept], learnt.labels[kept]
    mean, scale = x.mean(0), x.std(0) + 1e-6  # so that one step size suits every direction
    model = _model(kind, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last iteration was reached says nothing of the score
        model.fit((x - mean) / scale, y)
    chances = model.predict_proba((scored.x_ND - mean) / scale)
    names, counts = np.unique(y, return_counts=True)
    said = model.classes_[chances.argmax(1)]
    return ProbeScore(
        target, vectors, kind,
        accuracy=float((said == scored.labels).mean()),
        majority=float((names[counts.argmax()] == scored.labels).mean()),
        chance=1 / len(classes),
        by_recording=None if target == "phone" else _by_recording(chances, model.classes_, scored),
        classes=len(classes),
        train_frames=len(y),
        test_frames=len(scored.labels),
        test_recordings=len(np.unique(scored.recordings)),
    )  # fmt: skip


def probes(
    streams: Sequence[Stream],
    *,
    genders: Mapping[str, str] | None = None,
    kinds: Sequence[str] = KINDS,
    settings: ProbeSettings = ProbeSettings(),  # noqa: B008 (frozen)
) -> list[ProbeScore]:
    """Every probe that these streams allow: phones if they are known, speakers and genders if there are two.

    Arguments and errors are those of `probe`.
    """
    speakers = {stream.speaker for stream in streams}
    known = {(genders or {}).get(speaker) for speaker in speakers} - {None}
    targets = ["phone"] if any(stream.phones for stream in streams) else []
    targets += ["speaker"] if len(speakers) > 1 else []
    targets += ["gender"] if len(known) > 1 else []
    return [
        probe(streams, target, vectors, kind, genders=genders, settings=settings)
        for target in targets
        for kind in kinds
        for vectors in VECTORS
    ]


def probe_table(scores: Sequence[ProbeScore]) -> Table:
    """Probes for a terminal, before beside after."""
    found = {(score.target, score.kind, score.vectors): score for score in scores}
    return columns(
        "Probes on held-out recordings",
        ("", "before", "after", "majority", "chance", "by recording, after"),
        (_row(found, target, kind) for target, kind in dict.fromkeys((s.target, s.kind) for s in scores)),
    )


def _row(found: Mapping[tuple[str, str, str], ProbeScore], target: str, kind: str) -> tuple[str, ...]:
    both = [found[target, kind, vectors] for vectors in VECTORS]
    after = both[-1]
    whole = "" if after.by_recording is None else f"{after.by_recording:.1%}"
    shown = (*(s.accuracy for s in both), after.majority, after.chance)
    return (f"{target}, {kind}", *(f"{share:.1%}" for share in shown), whole)


class _Labelled(NamedTuple):
    """Frames to learn or to score."""

    x_ND: np.ndarray  # noqa: N815 (shape suffix)
    labels: np.ndarray  # (N,) text
    recordings: np.ndarray  # (N,) which recording each frame is of


def _frames(streams: Sequence[Stream], target: str, vectors: str, genders: Mapping[str, str]) -> _Labelled:
    x_ND, labels, recordings = [np.zeros((0, 1))], [], []
    for place, stream in enumerate(streams):
        x = getattr(stream, vectors)
        if x is None:
            raise BadSetting(f"{stream.name} has no vectors to be probed; encode it with vectors=True")
        whole = {"speaker": stream.speaker, "gender": genders.get(stream.speaker)}
        found = stream.phone_frames() if target == "phone" else [whole[target]] * len(stream)
        known = [label is not None for label in found]
        if any(known):
            x_ND.append(x[known].astype(np.float64))
            labels += [label for label in found if label is not None]
            recordings += [place] * sum(known)
    x = np.concatenate(x_ND[1:] or x_ND)
    return _Labelled(x, np.array(labels, dtype=str), np.array(recordings, dtype=np.int64))


def _by_recording(chances_NC: np.ndarray, classes: np.ndarray, scored: _Labelled) -> float:
    logs, right = np.log(chances_NC + 1e-12), []
    for place in np.unique(scored.recordings):
        here = scored.recordings == place
        right.append(classes[logs[here].sum(0).argmax()] == scored.labels[here][0])
    return float(np.mean(right))


def _model(kind: str, settings: ProbeSettings) -> Any:
    if kind == "linear":
        return logistic(settings.iterations)
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise MissingExtra("scikit-learn", "score", "probes") from error
    return MLPClassifier(
        (settings.hidden,), alpha=1e-3, max_iter=settings.iterations, random_state=settings.seed
    )
