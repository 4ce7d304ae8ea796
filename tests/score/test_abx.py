"""ABX against three loops with their own warping, against fastabx run by hand, and what it means."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fastabx import zerospeech_abx

from speechvq.score.abx import AbxSettings, abx, abx_frames
from speechvq.score.items import write_items
from speechvq.score.slices import Frames, stream_frames

from .abx_twin import RATE, angle, made, slow, warped

EVERYTHING = AbxSettings(max_size_group=None, max_x_across=None)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("bug", [False, True])
def test_it_equals_three_loops(speaker: str, context: str, bug: bool):
    streams, items = made(np.random.randint(1 << 30), count=36)
    settings = replace(EVERYTHING, speaker=speaker, context=context, librilight_bug=bug)
    found = abx(streams, items, settings=settings)
    expected = slow(stream_frames(streams), items, settings)
    assert found.error == pytest.approx(expected, abs=1e-4)  # percent: 1e-6 of the error
    assert (found.items, found.left_out, found.speaker, found.context) == (len(items), 0, speaker, context)
    assert found.librilight_bug == bug


@pytest.mark.parametrize("distance", ["angular", "euclidean", "kl_symmetric", "identical"])
def test_every_distance_equals_three_loops(distance: str):
    streams, items = made(np.random.randint(1 << 30), count=30)
    settings = replace(EVERYTHING, distance=distance, speaker="across")
    frames = stream_frames(streams)
    if distance == "kl_symmetric":
        softened = {k: np.exp(v) / np.exp(v).sum(1, keepdims=True) for k, v in frames.by_file.items()}
        frames = replace(frames, by_file=softened)
    if distance == "identical":
        frames = stream_frames(streams, "units")
    assert abx_frames(frames, items, settings=settings).error == pytest.approx(
        slow(frames, items, settings), abs=1e-4
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("distance", ["angular", "cosine", "euclidean", "kl_symmetric"])
def test_codes_stand_for_their_one_hot_vectors(depth: int, distance: str):
    streams, items = made(np.random.randint(1 << 30), depth=depth, count=60)
    settings = replace(EVERYTHING, distance=distance)
    eye = np.eye(4, dtype=np.float32)
    vectors = Frames({s.name: eye[s.codes].reshape(len(s), -1) for s in streams}, RATE)
    short = abx(streams, items, representation="one-hot", settings=settings)
    # Ties of 1/3 with 2/6 are broken by rounding in the one and not in the other.
    assert short.error == pytest.approx(abx_frames(vectors, items, settings=settings).error, abs=2.0)
    if distance in ("angular", "cosine") and depth == 1:
        assert short.error == pytest.approx(abx_frames(vectors, items, settings=settings).error, abs=1e-4)
        units = abx(streams, items, representation="units", settings=replace(settings, distance="identical"))
        assert short.error == pytest.approx(units.error, abs=1e-4)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize(
    ("representation", "distance"),
    [
        *itertools.product(["quantized", "one-hot"], ["angular", "euclidean", "kl_symmetric"]),
        ("one-hot", "identical"),
        ("units", "identical"),
    ],
)
def test_what_tells_nothing_apart_is_at_exactly_one_half(speaker: str, representation: str, distance: str):
    streams, items = made(np.random.randint(1 << 30), depth=2)
    vector = np.random.dirichlet(np.ones(5)).astype(np.float32)
    same = [
        replace(s, codes=np.full_like(s.codes, 3), quantized=np.tile(vector, (len(s), 1))) for s in streams
    ]
    short = [replace(item, offset=item.onset + 0.02) for item in items]  # of one frame: nothing to warp
    settings = AbxSettings(speaker=speaker, distance=distance)
    for given in (items, short):
        score = abx(same, given, representation=representation, settings=settings)  # type: ignore[arg-type]
        assert score.error == 50.0


def test_what_tells_all_apart_has_no_error():
    streams, items = made(8, count=60)
    vectors = {s.name: np.zeros((len(s), 3), dtype=np.float32) for s in streams}
    rows = []  # one after the other, so that no two examples share a frame
    for number, item in enumerate(items[:: len(items) // 12]):
        file = streams[number % 6].name
        onset = 0.2 * (number // 6)
        vectors[file][int(onset * 50) : int(onset * 50) + 10, "abc".index(item.phone)] = 1
        speaker = streams[number % 6].speaker
        rows.append(replace(item, file=file, onset=onset, offset=onset + 0.2, speaker=speaker, previous="p"))
    score = abx_frames(Frames(vectors, RATE), rows, settings=AbxSettings(speaker="across"))
    assert score.error == 0.0


# -- by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("speaker", ["within", "across"])
def test_fastabx_by_hand_gives_the_same(
    tmp_path: Path, speaker: str, bug: bool, monkeypatch: pytest.MonkeyPatch
):
    streams, items = made(np.random.randint(1 << 30), count=150)
    write_items(tmp_path / "made.item", items)
    eye = torch.eye(4)
    for stream in streams:
        for name in ("quantized", "latents", "one-hot"):
            path = tmp_path / name / f"{stream.name}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            vectors = eye[stream.codes[:, 0]] if name == "one-hot" else torch.tensor(getattr(stream, name))
            torch.save(vectors, path)
    monkeypatch.setenv("FASTABX_WITH_LIBRILIGHT_BUG", "1" if bug else "0")
    for name in ("quantized", "latents", "one-hot"):
        by_hand = zerospeech_abx(
            tmp_path / "made.item", tmp_path / name, max_size_group=10, max_x_across=5, speaker=speaker,
            frequency=50, seed=3459, progress=False, device="cpu",
        )  # type: ignore[call-overload]  # fmt: skip
        settings = AbxSettings(speaker=speaker, librilight_bug=bug)
        for exact in (True, False):  # these vectors are all different
            ours = abx(
                streams, items, representation=name, settings=replace(settings, exact_zero=exact)
            )  # type: ignore[call-overload]  # fmt: skip
            assert ours.error == pytest.approx(100 * by_hand, abs=1e-4)


# -- numbers of the definition -------------------------------------------------------------------


def test_the_twin_s_warping_and_angle():
    assert warped(np.array([[0, 1, 2], [1, 0, 1]])) == pytest.approx(1 / 3)
    assert warped(np.array([[0.1, 0.2, 0.3]])) == pytest.approx(0.2)
    assert warped(np.array([[0.5, 0.1], [0.2, 0.4], [0.3, 0.2]])) == pytest.approx(0.3)
    assert angle(np.array([1, 0]), np.array([0.5, 3**0.5 / 2])) == pytest.approx(1 / 3)
