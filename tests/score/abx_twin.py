"""ABX by three loops with their own warping, and made-up recordings to try it on."""

import itertools
import math

import numpy as np

from speechvq.score.abx import AbxSettings
from speechvq.score.items import Item
from speechvq.score.slices import Frames
from speechvq.score.streams import Stream

RATE = 50.0


def made(seed: int, *, dim: int = 5, depth: int = 1, size: int = 4, count: int = 90):
    """Recordings of three speakers, and examples of three phones in two contexts, anywhere in them."""
    draw = np.random.default_rng(seed)
    streams = [
        Stream(
            f"{speaker}/{number}",
            speaker,
            draw.integers(0, size, (60, depth)),
            RATE,
            1.2,
            codebook_size=size,
            latents=draw.normal(size=(60, dim)).astype(np.float32),
            quantized=draw.normal(size=(60, dim)).astype(np.float32),
        )
        for speaker in "uvw"
        for number in range(2)
    ]
    items = []
    for _ in range(count):
        stream = streams[draw.integers(len(streams))]
        onset, length = round(draw.uniform(0, 0.9), 4), round(draw.uniform(0.05, 0.2), 4)
        items.append(
            Item(
                stream.name, onset, round(onset + length, 4), str(draw.choice(list("abc"))),
                str(draw.choice(["p", "q"])), "r", stream.speaker,
            )
        )  # fmt: skip
    return streams, items


def warped(cost: np.ndarray) -> float:
    """Cost of the best path over a table of frame distances, divided by its number of steps."""
    rows, columns = cost.shape
    total = np.zeros((rows, columns))
    for i, j in itertools.product(range(rows), range(columns)):
        before = [total[a, b] for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if a >= 0 and b >= 0]
        total[i, j] = cost[i, j] + (min(before) if before else 0)
    i, j, steps = rows - 1, columns - 1, 1
    while i or j:
        if not i:
            j -= 1
        elif not j:
            i -= 1
        else:
            diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            if diagonal <= up and diagonal <= left:
                i, j = i - 1, j - 1
            elif left <= up:  # of equal ways back the library's choice: both, then along Y, then along X
                j -= 1
            else:
                i -= 1
        steps += 1
    return total[-1, -1] / steps


def angle(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(float), y.astype(float)
    return math.acos(max(-1, min(1, x @ y / np.linalg.norm(x) / np.linalg.norm(y)))) / math.pi


def kl(x: np.ndarray, y: np.ndarray) -> float:
    return float(0.5 * ((x - y) * (np.log(x + 1e-6) - np.log(y + 1e-6))).sum())


MEASURES = {
    "angular": angle,
    "cosine": angle,
    "euclidean": lambda x, y: float(np.linalg.norm(x.astype(float) - y.astype(float))),
    "kl_symmetric": kl,
    "identical": lambda x, y: float((x != y).any()),
}


def slow(frames: Frames, items: list[Item], settings: AbxSettings) -> float:
    """Percent of wrong triples by three loops and dictionaries."""
    measure, distances = MEASURES[settings.distance], {}
    examples = []
    for item in items:
        inside = [
            i
            for i in range(len(frames.by_file[item.file]))
            if item.onset - 1e-9 <= (i + 0.5) / frames.rate <= item.offset + 1e-9
        ]
        examples.append(frames.by_file[item.file][inside[: -1 if settings.librilight_bug else None]])

    def apart(x: int, y: int) -> float:
        if (x, y) not in distances:
            distances[x, y] = warped(np.array([[measure(p, q) for q in examples[y]] for p in examples[x]]))
        return distances[x, y]

    cells: dict[tuple, list[float]] = {}
    across = settings.speaker == "across"
    for a, x, b in itertools.product(range(len(items)), repeat=3):
        A, X, B = items[a], items[x], items[b]
        if a == x or A.phone != X.phone or A.phone == B.phone or A.speaker != B.speaker:
            continue
        if (A.speaker == X.speaker) == across:
            continue
        if settings.context == "within" and len({(i.previous, i.following) for i in (A, B, X)}) > 1:
            continue
        context = (A.previous, A.following) if settings.context == "within" else ()
        near, far = apart(x, a), apart(x, b)
        wrong = 0.5 if abs(near - far) < 1e-6 else float(far < near)
        cells.setdefault((A.phone, B.phone, A.speaker, X.speaker, context), []).append(wrong)
    by_speaker: dict[tuple, list[float]] = {}
    for (phone, other, speaker, *_), found in cells.items():
        by_speaker.setdefault((phone, other, speaker), []).append(float(np.mean(found)))
    by_pair: dict[tuple, list[float]] = {}
    for (phone, other, _), found in by_speaker.items():
        by_pair.setdefault((phone, other), []).append(float(np.mean(found)))
    return 100 * float(np.mean([np.mean(found) for found in by_pair.values()]))
