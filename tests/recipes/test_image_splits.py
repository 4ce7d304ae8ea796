"""Pictures of a split in batches: each of them where it should be, and of all of the split."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from speechvq.codec import Batch

RECIPE = Path(__file__).parents[2] / "recipes" / "images"


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    return importlib.import_module("splits")


class Numbers:
    """A split whose pictures are their numbers."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, key: tuple[int, int]) -> int:
        assert key[0] == 0
        return key[1]

    def collate(self, items: list[int]) -> Batch:
        return Batch(torch.tensor(items))


def rows(batches: Iterable[Batch], size: int) -> list[int]:
    """All numbers, if all batches but the last are full."""
    found: list[Tensor] = [batch.signal for batch in batches]
    assert all(len(part) == size for part in found[:-1])
    assert 1 <= len(found[-1]) <= size
    return torch.cat(found).tolist()


@pytest.mark.parametrize("size", [1, 5, 50])
def test_in_order_and_spread(splits: ModuleType, size: int):
    assert rows(splits.first(Numbers(), 12, size), size) == list(range(12))
    assert rows(splits.first(Numbers(), 99, size), size) == list(range(23))
    found = rows(splits.spread(Numbers(), 6, size), size)
    assert found == [23 * i // 6 for i in range(6)]
    assert found[-1] > 23 - 23 / 6 - 1
    assert rows(splits.spread(Numbers(), 99, size), size) == list(range(23))


def test_shuffled_all_come_before_one_comes_again(splits: ModuleType):
    found = rows(splits.shuffled(Numbers(), 12, 4), 4)
    assert len(found) == 48
    assert sorted(found[:23]) == list(range(23)) != found[:23]
    assert found[:23] == found[23:46]
    assert found[46:] == found[:2]
