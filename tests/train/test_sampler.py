"""The order of the data: every item once an epoch, from any position, split among processes."""

from itertools import islice

import pytest

from speechvq.errors import BadSetting
from speechvq.train.sampler import Order


def test_every_item_once_an_epoch_and_in_another_order_each_time():
    batches = list(islice(Order(10, 4, seed=3).batches(), 10))
    keys = [key for batch in batches for key in batch]
    epochs = [[index for epoch, index in keys if epoch == e] for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [Order(10, 4).epoch(b) for b in range(6)] == [0, 0, 0, 1, 1, 2]


def test_any_position_can_be_begun_from():
    order = Order(7, 3, seed=1)
    whole = list(islice(order.batches(), 20))
    for first in (0, 1, 5, 13):
        assert list(islice(order.batches(first), 20 - first)) == whole[first:]


def test_processes_share_the_batch_in_order():
    whole = list(islice(Order(11, 6, seed=2).batches(), 5))
    parts = [list(islice(Order(11, 6, seed=2, rank=r, world=3).batches(), 5)) for r in range(3)]
    assert [a + b + c for a, b, c in zip(*parts, strict=True)] == whole


def test_a_batch_may_be_larger_than_the_data():
    (batch,) = islice(Order(2, 5).batches(), 1)
    assert sorted(batch[:2]) == [(0, 0), (0, 1)]
    assert [epoch for epoch, _ in batch] == [0, 0, 1, 1, 2]


def test_what_cannot_be():
    with pytest.raises(BadSetting, match="nothing"):
        Order(0, 4)
    with pytest.raises(BadSetting, match="divide"):
        Order(5, 5, world=2)
