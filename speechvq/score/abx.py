"""ABX: how well a representation tells phones apart, by fastabx.

A and X are two examples of one phone, B is one of another. The error is the share of triples in which X
is nearer to B than to A, a tie counting one half: 50 % is chance. Two examples are compared by the mean
frame distance along their best alignment in time (dynamic time warping). Triphones of equal context
differ in their middle phone only. Within: A, B and X are of one speaker; across: X is of another.

Schatz et al., "Evaluating speech features with the minimal-pair ABX task" (2013); Poli et al., "fastabx"
(2025). Cells, distances, warping and means are fastabx's; which frames make up an example is said in
`speechvq.score.slices`. Published scores on the item files of libri-light come from code that drops the
last frame of each: `AbxSettings.librilight_bug` does the same as fastabx's own environment variable.

One thing is not as in fastabx: there, rounding leaves a small angle between a vector and itself, which
decides between equal distances by chance. Vectors of codes are often equal; here their angle is 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechvq.errors import BadSetting, MissingExtra
from speechvq.score.items import Item
from speechvq.score.slices import Frames, Representation, gather, stream_frames
from speechvq.score.streams import Stream

DISTANCES = ("angular", "cosine", "euclidean", "kl_symmetric", "identical")
FLOORS = {"angular": 4.5e-4, "cosine": 4.5e-4, "kl_symmetric": 1e-5}
"""What float32 leaves of the distance of a frame to itself can be this large (an angle of 0.08 degrees)."""
_LEAST_CHANCE = 1e-6  # what fastabx adds to each probability before the logarithm of kl_symmetric


@dataclass(frozen=True)
class AbxSettings:
    """Which triples are made and how they are compared; as published unless said otherwise.

    Raises:
        BadSetting: a name or a number that fastabx does not know.
    """

    speaker: str = "within"  # within: A, B and X of one speaker; across: X of another
    context: str = "within"  # within: equal neighbours; any: they do not matter (for phonemes only)
    distance: str = "angular"  # of frames: angular (cosine is the same), euclidean, kl_symmetric, identical
    librilight_bug: bool = False  # drop the last frame of each example, as libri-light does
    exact_zero: bool = True  # distances below `FLOORS` are 0, so that ties are ties; False: as in fastabx
    max_size_group: int | None = 10  # examples of A, of B and of X in a cell; None: all
    max_x_across: int | None = 5  # speakers of X for each A and B; None: all
    seed: int = 3459  # of the draw where there are more

    def __post_init__(self) -> None:
        for name, known in (("speaker", ("within", "across")), ("context", ("within", "any"))):
            if getattr(self, name) not in known:
                raise BadSetting(f"{name} must be {' or '.join(known)}, not {getattr(self, name)!r}")
        if self.distance not in DISTANCES:
            raise BadSetting(f"ABX knows the distances {', '.join(DISTANCES)}, not {self.distance!r}")
        for name, least in (("max_size_group", 2), ("max_x_across", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadSetting(f"{name} must be at least {least}, or none for no limit, not {value}")


@dataclass(frozen=True)
class AbxScore:
    """One ABX error and what it is of.

    Attributes:
        error: percent, in [0, 100]; 50 is chance, lower is better.
        task: triphone or phoneme.
        representation: which vectors were compared.
        speaker: within or across.
        context: within or any.
        distance: of frames.
        librilight_bug: the last frame of each example was dropped.
        items: how many examples were used.
        left_out: how many had no frame, or reached beyond the last one.
        cells: how many sets of triples of equal condition were averaged.
        triples: how many triples were compared.
    """

    error: float
    task: str
    representation: str
    speaker: str
    context: str
    distance: str
    librilight_bug: bool
    items: int
    left_out: int
    cells: int
    triples: int


def abx(
    streams: Sequence[Stream],
    items: Sequence[Item],
    task: str = "triphone",
    *,
    representation: Representation = "quantized",
    settings: AbxSettings = AbxSettings(),  # noqa: B008 (frozen)
    progress: bool = False,
) -> AbxScore:
    """ABX error of the codes of some recordings.

    Args:
        streams: the recordings; their names are the files of the items.
        items: the examples, all of one kind.
        task: what to call that kind: triphone or phoneme.
        representation: "quantized" (the vectors of the codes), "one-hot" (of each codebook, side by
            side), "latents" (before quantization) or "units" (numbers, for the distance "identical").
        settings: which triples, and how they are compared.
        progress: show bars on a terminal.

    Raises:
        BadSetting: the streams lack what is asked for, differ in rate, lack a file of the items, or
            the items make no triple.
        MissingExtra: fastabx is not installed.
    """
    return abx_frames(
        stream_frames(streams, representation), items, task, settings=settings, progress=progress
    )


def abx_frames(
    frames: Frames,
    items: Sequence[Item],
    task: str = "triphone",
    *,
    settings: AbxSettings = AbxSettings(),  # noqa: B008 (frozen)
    progress: bool = False,
) -> AbxScore:
    """`abx` of frames of any origin: MFCC, another toolkit's, a submission's.

    Examples that have no frame, or whose frames go on beyond the recording's last, are left out with a
    warning; a published score has none of these.

    Raises:
        BadSetting: as `abx`.
        MissingExtra: fastabx is not installed.
    """
    try:
        import fastabx
        import polars
    except ImportError as error:
        raise MissingExtra("fastabx", "score", "ABX") from error
    kept, spans, data = gather(frames, items, settings.librilight_bug)
    if not (frames.one_hot or settings.distance == "identical"):
        data = data.float()
    rows = zip(*((i.phone, i.previous, i.following, i.speaker) for i in kept), strict=True)
    names = ("#phone", "prev-phone", "next-phone", "speaker")
    labels = polars.DataFrame(dict(zip(names, map(list, rows), strict=True)))
    accessor = fastabx.InMemoryAccessor(dict(enumerate(spans)), data, torch.device("cpu"))
    if settings.exact_zero and settings.distance in ("angular", "cosine") and not frames.one_hot:
        accessor.normalize_()  # as fastabx does by itself only for a distance that it knows by name
        accessor = fastabx.InMemoryAccessor(accessor.indices, accessor.data, accessor.device)
    contexts = ["prev-phone", "next-phone"] if settings.context == "within" else []
    across = settings.speaker == "across"
    draw = fastabx.Subsampler(settings.max_size_group, settings.max_x_across, settings.seed)
    try:
        triples = fastabx.Task(
            fastabx.Dataset(labels, accessor),
            on="#phone",
            by=contexts if across else [*contexts, "speaker"],
            across=["speaker"] if across else [],
            subsampler=draw,
        )
    except fastabx.EmptyTaskError as error:
        raise BadSetting(
            f"{len(kept)} items make no {task} triple {settings.speaker} speakers: it takes two examples of "
            "one phone and one of another in equal conditions; give more recordings"
        ) from error
    score = fastabx.Score(triples, _distance(frames, settings), progress=progress)
    levels: list[Any] = [("next-phone", "prev-phone"), "speaker"] if contexts else ["speaker"]
    return AbxScore(
        100 * score.collapse(levels=levels), task, frames.name, settings.speaker, settings.context,
        settings.distance, settings.librilight_bug, len(kept), len(items) - len(kept), len(score.cells),
        int(score.cells["size"].sum()),
    )  # fmt: skip


type _Distance = Callable[[Tensor, Tensor], Tensor]


def _distance(frames: Frames, settings: AbxSettings) -> Any:
    """The distance by fastabx's name for it, or one to be used instead."""
    name = settings.distance
    if frames.one_hot:
        return _between_one_hot(name)
    width = next(iter(frames.by_file.values())).shape[1]
    if name == "identical" and width != 1:
        raise BadSetting(
            f"the distance identical compares single numbers, and {frames.name} has {width} a frame; "
            'compare representation="units" or "one-hot"'
        )
    return _floored(name) if settings.exact_zero and name in FLOORS else name


def _floored(name: str) -> _Distance:
    """fastabx's distance of that name, with 0 for what is so small that it can be rounding."""
    from fastabx import distance as known

    plain = known.kl_symmetric_distance if name == "kl_symmetric" else known.angular_distance

    def distance(x_NSD: Tensor, y_MRD: Tensor) -> Tensor:
        return torch.nn.functional.threshold(plain(x_NSD, y_MRD), FLOORS[name], 0.0)

    return distance


def _between_one_hot(name: str) -> _Distance:
    """Distance of rows (N, S, K) and (M, R, K) of codes as (N, M, S, R), from how many of the K are equal.

    Vectors of 512 numbers a frame would fill the memory with zeros.
    """

    def distance(x_NSK: Tensor, y_MRK: Tensor) -> Tensor:
        depth, same = x_NSK.shape[-1], torch.zeros(())
        for k in range(depth):
            same = same + (x_NSK[:, None, :, None, k] == y_MRK[None, :, None, :, k]).float()
        if name in ("angular", "cosine"):
            return (same / depth).clamp(0, 1).acos() / math.pi
        if name == "euclidean":
            return (2 * (depth - same)).sqrt()
        if name == "kl_symmetric":
            return (depth - same) * math.log((1 + _LEAST_CHANCE) / _LEAST_CHANCE)
        return (same < depth).float()

    return distance
