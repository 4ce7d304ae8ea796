"""Sliding windows: where they stand, and that the prior's say is that of the whole network in each."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.transformer import Depth
from speechvq.prior.conditions import Given
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.gpt_settings import Reading
from speechvq.prior.places import coordinates
from speechvq.prior.sampling import Steering
from speechvq.prior.windows import Windows


def by_cases(place: int, whole: int) -> int:
    """Where a window of 16 begins, as it was published."""
    if place <= 8:
        local = place
    elif whole - place < 8:
        local = 16 - (whole - place)
    else:
        local = 8
    return place - local


@given(st.integers(16, 60), st.integers(16, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_of_sixteen_stands_where_it_was_published(height: int, width: int, data):
    windows = Windows.over((height, width), (16, 16))
    i, j = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    assert windows.start(i * width + j) == (by_cases(i, height), by_cases(j, width))


def test_the_windows_of_twenty_rows():
    windows = Windows.over((20, 3), (16, 16))
    assert windows.size == (16, 3)
    assert [windows.start(3 * i)[0] for i in range(20)] == [0] * 9 + [1, 2, 3] + [4] * 8


GRIDS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=3)


@given(GRIDS, st.data())
@settings(max_examples=60, deadline=None)
def test_each_place_is_in_its_window_and_in_one_share(axes: list[tuple[int, int]], data):
    grid, size = tuple(a for a, _ in axes), tuple(b for _, b in axes)
    windows = Windows.over(grid, size)
    assert windows.slide == any(a > b for a, b in axes)
    numbers = torch.arange(math.prod(grid)).view(grid)
    owner = torch.full(grid, -1)
    shares = list(windows.shares())
    for number, share in enumerate(shares):
        assert (owner[share.places] == -1).all()
        owner[share.places] = number
        window = numbers[tuple(slice(a, a + n) for a, n in zip(share.start, windows.size, strict=True))]
        assert window.shape == windows.size
        assert torch.equal(window[share.within], numbers[share.places])
    assert (owner >= 0).all()
    place = data.draw(st.integers(0, math.prod(grid) - 1))
    assert shares[int(owner.flatten()[place])].start == windows.start(place)
    at = [int(x) for x in torch.unravel_index(torch.tensor(place), grid)]
    for x, first, n, whole in zip(at, windows.start(place), windows.size, grid, strict=True):
        assert 0 <= first <= x < first + n <= whole
    window = numbers[tuple(slice(a, a + n) for a, n in zip(windows.start(place), windows.size, strict=True))]
    assert windows.before(place).tolist() == [p for p in window.flatten().tolist() if p < place]


def made(depth: int = 1, **more) -> GPTPrior:
    torch.manual_seed(1)
    size = Depth(layers=2, width=16, heads=2, reach=70, positions="learned")
    told = (Given("class", 3, "label"), Given("codes", 5))
    reading = Reading(**{"window": (4, 4), "blind": 0.3, "unmasked": 9} | more)
    net = GPTPrior(7, num_codebooks=depth, size=size, given=told, reading=reading)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net.eval()


def slowly(net: GPTPrior, codes: Tensor, told: dict, place: tuple[int, int], book: int) -> Tensor:
    """Logits (B, Q) of one code from its window cut out of everything; what comes later may be anything."""
    grid = codes.shape[2:]
    n = [min(4, g) for g in grid]
    first = [max(0, min(x - m // 2, g - m)) for x, m, g in zip(place, n, grid, strict=True)]
    window = (..., *(slice(a, a + m) for a, m in zip(first, n, strict=True)))
    part = codes[window].clone()
    local = (place[0] - first[0]) * n[1] + place[1] - first[1]
    row = part.flatten(2).transpose(1, 2).flatten(1)  # codebooks in turns
    row[:, local * net.num_codebooks + book :] = torch.randint(7, (1,))
    row = row + 7 * (torch.arange(row.shape[1]) % net.num_codebooks)
    begin = 7 * net.num_codebooks + 1
    label, depths = told["class"].view(-1, 1) + begin, told["codes"][window].flatten(1) + begin + 3
    label, depths = label.expand(len(row), -1), depths.expand(len(row), -1)
    tokens = torch.cat([label, depths, row[:, :-1]], dim=1)
    told_places = 1 + depths.shape[1]
    h = net.net(net.enter(tokens), unmasked=min(9, told_places))
    rows = net.leave.weight[7 * book : 7 * book + 7]
    return h[:, told_places - 1 + local * net.num_codebooks + book] @ rows.T


@pytest.mark.parametrize(("grid", "depth"), [((6, 9), 1), ((5, 3), 2), ((3, 4), 1)])
@torch.no_grad()
def test_drawn_codes_and_costs_are_those_of_the_window_alone(grid: tuple[int, int], depth: int):
    net, sampling = made(depth), Sampling(temperature=0.9, top_p=0.95, seed=3)
    told = {"class": torch.tensor([2, 0]), "codes": torch.randint(5, (2, 1, *grid))}
    codes = net.generate(grid, told, sampling, count=2)
    nats = net.nats(codes, told)
    uniforms = Uniforms(3, 2).draw(depth * math.prod(grid))
    drawn = 0
    for i in range(grid[0]):
        for j in range(grid[1]):
            for book in range(depth):
                logits = slowly(net, codes.indices, told, (i, j), book)
                code = codes.indices[:, book, i, j]
                assert torch.equal(sample(logits, sampling, uniforms[:, drawn]), code)
                expected = -logits.log_softmax(1).gather(1, code[:, None])[:, 0]
                assert torch.allclose(nats[:, book, i, j], expected, atol=1e-5)
                drawn += 1


def test_what_was_drawn_is_gone_on_from():
    net = made()
    told = {"class": torch.tensor([1]), "codes": torch.randint(5, (1, 1, 7, 6))}
    rules = Steering(guidance=2.0, max_run=2)
    whole = net.generate((7, 6), told, Sampling(seed=8), steering=rules, count=2).indices
    for rows in (1, 5):
        prefix = Codes(whole[:, :, :rows])
        again = net.generate((7, 6), told, Sampling(seed=8), steering=rules, prefix=prefix, count=2)
        assert torch.equal(again.indices, whole)


@torch.no_grad()
def test_a_condition_on_a_coarser_or_finer_grid_is_cut_in_proportion():
    net = made()
    label = torch.tensor([0])
    for condition_grid in ((4, 6), (16, 24)):
        told = {"class": label, "codes": torch.randint(5, (1, 1, *condition_grid))}
        if condition_grid == (16, 24):
            with pytest.raises(BadSetting, match="more than the 70"):
                net.generate((8, 12), told)
            continue
        codes = net.generate((8, 12), told)
        first = net.nats(codes, told)[0, 0, 7, 11]
        told["codes"][0, 0, :2] = (told["codes"][0, 0, :2] + 1) % 5  # rows of places 0 to 3: out of its sight
        assert torch.equal(net.nats(codes, told)[0, 0, 7, 11], first)
        told["codes"][0, 0, 3, 5] = (told["codes"][0, 0, 3, 5] + 1) % 5
        assert not torch.equal(net.nats(codes, told)[0, 0, 7, 11], first)
    with pytest.raises(BadSetting, match="no whole number"):
        net.generate((8, 12), {"class": label, "codes": torch.randint(5, (1, 1, 3, 6))})


def test_costs_over_windows_teach():
    net = made()
    told = {"class": torch.tensor([0]), "codes": torch.randint(5, (1, 1, 5, 6))}
    net.loss(Codes(torch.randint(7, (1, 1, 5, 6))), told).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_training_takes_one_window_anywhere():
    net = made(blind=0.0)
    codes, told = torch.randint(7, (2, 1, 5, 6)), torch.randint(5, (2, 1, 5, 6))
    mask, label = torch.rand(2, 5, 6) < 0.8, torch.tensor([0, 2])
    expected = set()
    for i in range(2):
        for j in range(3):
            cut = (..., slice(i, i + 4), slice(j, j + 4))
            part = net.loss(Codes(codes[cut], mask[cut]), {"class": label, "codes": told[cut]})
            expected.add(round(part.item(), 4))
    net.train()
    losses = [net.loss(Codes(codes, mask), {"class": label, "codes": told}).item() for _ in range(60)]
    assert {round(loss, 4) for loss in losses} == expected


@torch.no_grad()
def test_a_window_is_told_where_in_the_picture_it_lies():
    torch.manual_seed(0)
    size = Depth(layers=1, width=16, heads=2, reach=40, positions="learned")
    where, reading = Given("where", 40, "coordinates", hop=2), Reading(window=(4, 4))
    net = GPTPrior(7, size=size, given=(where,), reading=reading).eval()
    codes = Codes(torch.randint(7, (1, 1, 5, 6)))
    whole = coordinates((5, 6), hop=2, size=40)[None, None]
    assert torch.equal(net.nats(codes), net.nats(codes, {"where": whole}))
    part = net.nats(Codes(codes.indices[..., 1:5, 2:6]), {"where": whole[..., 1:5, 2:6]})
    assert torch.allclose(net.nats(codes)[..., 4, 5], part[..., 3, 3], atol=1e-5)
    assert not torch.allclose(net.nats(Codes(codes.indices[..., 1:5, 2:6])), part, atol=1e-3)
