"""Orders of writing: the published ones on 4 by 4, and what a prior makes of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechvq.codec import Codes
from speechvq.errors import BadSetting, UnknownName
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.gpt_settings import Reading
from speechvq.prior.orders import ORDERS, order

PUBLISHED = {
    "raster": list(range(16)),
    "subsample": [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15],
    "z-curve": [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15],
    "spiral-out": [9, 5, 6, 10, 14, 13, 12, 8, 4, 0, 1, 2, 3, 7, 11, 15],
    "spiral-in": [15, 11, 7, 3, 2, 1, 0, 4, 8, 12, 13, 14, 10, 6, 5, 9],
    "alternate": [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11, 15, 14, 13, 12],
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_four_by_four_is_the_published_order(name: str):
    assert order(name, (4, 4)).tolist() == PUBLISHED[name]


@given(st.sampled_from(sorted(ORDERS)), st.integers(0, 9), st.integers(0, 9))
def test_every_order_is_a_permutation(name: str, height: int, width: int):
    places = order(name, (height, width))
    assert sorted(places.tolist()) == list(range(height * width))
    assert torch.equal(places[places.argsort()], torch.arange(height * width))


@given(st.integers(1, 9), st.integers(1, 9))
def test_a_spiral_goes_from_neighbour_to_neighbour(height: int, width: int):
    places = [divmod(place, width) for place in order("spiral-out", (height, width)).tolist()]
    steps = [abs(a - c) + abs(b - d) for (a, b), (c, d) in zip(places, places[1:], strict=False)]
    assert set(steps) <= {1}


def made(name: str, depth: int) -> GPTPrior:
    torch.manual_seed(0)
    size = Depth(layers=1, width=16, heads=2, reach=32, positions="learned")
    net = GPTPrior(5, num_codebooks=depth, size=size, reading=Reading(window=(4, 4), order=name))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net.eval()


@pytest.mark.parametrize("name", sorted(ORDERS))
@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_a_prior_in_this_order_is_one_in_raster_order_of_moved_codes(name: str, depth: int):
    """By a loop: the i-th place that is written stands at raster place i."""
    net, plain = made(name, depth), made("raster", depth)
    codes = Codes(torch.randint(5, (2, depth, 3, 4)), torch.rand(2, 3, 4) < 0.9)
    moved, mask = torch.zeros_like(codes.indices), torch.zeros_like(codes.mask)
    for i, place in enumerate(order(name, (3, 4)).tolist()):
        moved[:, :, i // 4, i % 4] = codes.indices[:, :, place // 4, place % 4]
        mask[:, i // 4, i % 4] = codes.mask[:, place // 4, place % 4]
    nats, expected = net.nats(codes), plain.nats(Codes(moved, mask))
    drawn = net.generate((3, 4), sampling=Sampling(seed=2)).indices
    raster = plain.generate((3, 4), sampling=Sampling(seed=2)).indices
    for i, place in enumerate(order(name, (3, 4)).tolist()):
        there, here = (..., place // 4, place % 4), (..., i // 4, i % 4)
        assert torch.equal(nats[there], expected[here])
        assert torch.equal(drawn[there], raster[here])


def test_what_no_order_can_do_is_a_sentence():
    with pytest.raises(UnknownName, match="spiral-in"):
        Reading(order="diagonal")
    with pytest.raises(BadSetting, match="two axes"):
        made("z-curve", 1).generate((7,))
    with pytest.raises(BadSetting, match="slides in raster order only"):
        made("z-curve", 1).generate((5, 4))
    with pytest.raises(BadSetting, match="leave the prefix out"):
        made("alternate", 1).generate((4, 4), prefix=Codes(torch.zeros(1, 1, 1, 4, dtype=torch.int64)))
