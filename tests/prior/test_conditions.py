"""What a prior is told, as a row of integers; coordinates and points beside loops over pixels."""

import math

import pytest
import torch

from speechvq.errors import BadCodes, BadSetting, UnknownName
from speechvq.prior.conditions import Conditions, Given
from speechvq.prior.places import coordinates, points
from speechvq.prior.windows import Windows

CPU = torch.device("cpu")
ALL = (
    Given("label", 3, "label", names=("cat", "dog", "eel")),
    Given("keypoints", 10, "tokens"),
    Given("depth", 5, num_codebooks=2),
    Given("where", 20, "coordinates", hop=2),
)


def told() -> dict[str, torch.Tensor]:
    return {
        "label": torch.tensor([2, 0]),
        "keypoints": torch.tensor([[9, 0, 4], [1, 2, 3]]),
        "depth": torch.randint(5, (2, 2, 2, 3)),
    }


def test_points_are_told_as_the_integers_they_become():
    given = (Given("keypoints", 26, "tokens"),)
    conditions, places = Conditions(given, nothing=7, shared=False), torch.rand(2, 3, 2)
    places[1, 2] = torch.nan
    (told,) = conditions.read({"keypoints": places}, (2, 3), 2, CPU)
    (twin,) = conditions.read({"keypoints": points(places, size=26)}, (2, 3), 2, CPU)
    assert torch.equal(told, twin)
    assert told[1, 2] == 8 + 25


@pytest.mark.parametrize("shared", [False, True])
def test_a_row_is_everything_told_one_after_the_other(shared: bool):
    conditions = Conditions(ALL, nothing=7, shared=shared)
    first = [0, 0, 0, 0] if shared else [8, 11, 21, 31]
    assert conditions.end == (20 if shared else 51)
    grid, condition = (2, 3), told()
    parts = conditions.read(condition, grid, 2, CPU)
    row = conditions.row(parts, Windows.over(grid, (4, 4)), (0, 0))
    for b in range(2):
        expected = [first[0] + int(condition["label"][b])]
        expected += [first[1] + int(x) for x in condition["keypoints"][b]]
        for i in range(2):
            for j in range(3):
                for book in range(2):
                    code = int(condition["depth"][b, book, i, j])
                    expected.append(first[2] + code + (0 if shared else 5 * book))
        expected += [first[3] + int(x) for x in coordinates(grid, hop=2, size=20).flatten()]
        assert row[b].tolist() == expected


def test_a_window_is_told_its_part():
    conditions = Conditions((Given("depth", 100),), nothing=0, shared=True)
    depth = torch.arange(100).view(1, 1, 10, 10)
    windows = Windows.over((10, 10), (4, 6))
    parts = conditions.read({"depth": depth}, (10, 10), 3, CPU)
    row = conditions.row(parts, windows, (2, 3))
    assert row.tolist() == [[10 * i + j for i in range(2, 6) for j in range(3, 9)]] * 3


def test_nothing_told_is_one_token():
    conditions = Conditions((), nothing=7, shared=False)
    parts = conditions.read(None, (4, 4), 2, CPU)
    assert conditions.row(parts, Windows.over((4, 4), (4, 4)), (0, 0)).tolist() == [[7], [7]]
    assert conditions.end == 8


def by_pixels(height: int, width: int, hop: int, size: int) -> list[list[int]]:
    """The mean raster index of the pixels of each place."""
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            pixels = [
                y * width * hop + x
                for y in range(i * hop, i * hop + hop)
                for x in range(j * hop, j * hop + hop)
            ]
            mean = sum(pixels) / len(pixels) / (height * width * hop**2)
            row.append(min(size - 1, round(mean * size)))
        rows.append(row)
    return rows


@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 5)])
def test_coordinates_are_means_over_pixels(grid: tuple[int, int]):
    assert coordinates(grid, hop=4, size=37).tolist() == by_pixels(*grid, 4, 37)


@pytest.mark.parametrize(
    ("side", "first", "last", "distinct"), [(16, 30, 994, 80), (32, 15, 1009, 96), (64, 8, 1016, 64)]
)
def test_coordinates_are_the_published_ones(side: int, first: int, last: int, distinct: int):
    ids = coordinates((side, side), hop=16, size=1024)
    assert (int(ids[0, 0]), int(ids[-1, -1]), len(ids.unique())) == (first, last, distinct)
    if side == 16:
        assert ids[0, :4].tolist() == [30, 30, 31, 31]
        assert ids[:3, 0].tolist() == [30, 94, 158]


def test_coordinates_of_a_crop_are_part_of_the_whole():
    whole = coordinates((6, 8), hop=4, size=500)
    crop = coordinates((3, 4), hop=4, size=500, whole=(24, 32), corner=(8, 12))
    assert torch.equal(crop, whole[2:5, 3:7])
    assert int(coordinates((1, 1), hop=1, size=4, whole=(1, 8), corner=(0, 7)).item()) == 3  # not 4


def test_points_lie_on_a_lattice():
    places = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.5, 0.25], [math.nan, 0.1], [-3, 2]]])
    assert points(places, size=8192).tolist() == [[0, 8099, round(44.5) * 90 + 22, 8191, 89]]
    assert int(points(torch.rand(50, 3, 2), size=10).max()) <= 8


def test_what_cannot_be_told_is_a_sentence():
    conditions, grid = Conditions(ALL, nothing=7, shared=False), (2, 3)
    for name, wrong, words in (
        ("label", torch.tensor([3, 0]), "0 to 3; this prior knows 0 to 2"),
        ("label", torch.tensor([-1, 0]), "integers from -1"),
        ("label", torch.zeros(3, dtype=torch.int64), "3 rows of label are given for 2"),
        ("label", torch.zeros(2, 1, dtype=torch.int64), r"must be \(B,\)"),
        ("keypoints", torch.zeros(2, dtype=torch.int64), r"must be \(B, n\)"),
        ("depth", torch.zeros(2, 1, 2, 3, dtype=torch.int64), "K = 2"),
        ("depth", torch.zeros(2, 2, 3, dtype=torch.int64), r"must be \(B, K, \*grid\)"),
        ("where", torch.zeros(2, 2, 2, 3, dtype=torch.int64), "K = 1"),
    ):
        with pytest.raises(BadSetting, match=words):
            conditions.read(told() | {name: wrong}, grid, 2, CPU)
    with pytest.raises(BadSetting, match="is told keypoints"):
        conditions.read({"label": torch.tensor([0])}, grid, 2, CPU)
    with pytest.raises(BadSetting, match="same name"):
        Conditions((Given("a", 2), Given("a", 3)), nothing=0, shared=False)
    with pytest.raises(UnknownName, match="coordinates"):
        Given("a", 2, "colour")
    with pytest.raises(BadSetting, match="at least 1"):
        Given("a", 0)
    with pytest.raises(BadSetting, match="2 names for 3"):
        Given("a", 3, "label", names=("x", "y"))
    assert ALL[0].row("eel") == 2
    with pytest.raises(UnknownName, match="cat, dog, eel"):
        ALL[0].row("fox")
    Given("codes", 5).check("abc")
    Given("codes", 5, codec="abc").check("abc")
    with pytest.raises(BadCodes, match="another codec"):
        Given("codes", 5, codec="abc").check("abd")
