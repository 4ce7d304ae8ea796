"""Gated PixelCNN: what a place sees, padding, the layers by loops, and the steps against the whole."""

import pytest
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.nets.pixelcnn import Layer, PixelCNN, Stacks
from speechvq.nets.pixelcnn_step import Steps

WIDTHS = {"width": 6, "skip": 5, "post": 7, "condition": 3}


def network(*, conditioned: bool = False, **more: int) -> PixelCNN:
    """A small network whose weights are large enough for a change to be seen through all layers."""
    torch.manual_seed(0)
    net = PixelCNN(Stacks(**WIDTHS | {"layers": 3, "first": 5, "kernel": 3} | more), conditioned=conditioned)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net.double().eval()


def seen(net: PixelCNN, rows: int, columns: int, row: int, column: int) -> Tensor:
    """(rows, columns), True for the inputs that have a gradient from the output of a place."""
    x = torch.randn(1, 6, rows, columns, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x)[0, :, row, column].sum(), x)
    return slope[0].abs().sum(0) > 0


def test_every_place_of_a_grid_sees_all_before_it_and_nothing_else():
    net = network()
    rows, columns = 4, 5
    assert net.stacks.reach == 4
    for place in range(rows * columns):
        expected = torch.arange(rows * columns) < place
        assert torch.equal(seen(net, rows, columns, *divmod(place, columns)).flatten(), expected), place


def test_a_change_moves_all_later_places_of_an_8_by_8_grid():
    net = network(layers=6)
    x = torch.randn(1, 6, 8, 8, dtype=torch.float64)
    before = net(x)
    assert net.stacks.reach == 7
    for (row, column), moved in {(0, 0): 63, (3, 4): 35, (7, 6): 1, (7, 7): 0}.items():
        changed = x.clone()
        changed[:, :, row, column] += 1
        later = torch.arange(64) > 8 * row + column
        assert int(later.sum()) == moved
        assert torch.equal(((net(changed) - before).abs().amax((0, 1)) > 1e-12).flatten(), later)


@pytest.mark.parametrize(
    ("layers", "first", "kernel", "reach"),
    [(1, 3, 3, 1), (2, 5, 3, 3), (2, 3, 5, 3), (3, 3, 3, 3), (1, 7, 3, 3)],
)
def test_what_is_seen_of_a_large_grid(layers: int, first: int, kernel: int, reach: int):
    net = network(layers=layers, first=first, kernel=kernel)
    assert net.stacks.reach == reach
    expected = torch.zeros(9, 11, dtype=torch.bool)
    expected[5 - reach : 5, 5 - reach : 5 + reach + 1] = True  # rows above, to both sides
    expected[5, 5 - reach : 5] = True  # its own, to the left
    assert torch.equal(seen(net, 9, 11, 5, 5), expected)


def test_the_presets_of_the_paper_see_whole_grids():
    paper = Stacks(layers=20, first=5, kernel=5, width=384)
    assert paper.reach == 40
    assert Stacks().reach == 15


def slowly(net: PixelCNN, x: Tensor, conditions: Tensor) -> Tensor:
    """The network on one grid (width, H, W), by the sums of the formula, place by place, tap by tap."""
    (_, rows, columns), width = x.shape, net.stacks.width
    half = lambda z: z[:width].tanh() * z[width:].sigmoid()  # noqa: E731
    v, h, skip = x, x, torch.zeros(net.stacks.skip, rows, columns, dtype=x.dtype)
    for number, layer in enumerate(net.layers):
        assert isinstance(layer, Layer)
        r, new_v, new_h = net.stacks.kernels[number] // 2, torch.zeros_like(v), torch.zeros_like(h)
        for i in range(rows):
            for j in range(columns):
                a, b = layer.down.bias.clone(), torch.zeros(2 * width, dtype=x.dtype)
                for up in range(1 if number == 0 else 0, r + 1):
                    for side in range(-r, r + 1):
                        if i - up >= 0 and 0 <= j + side < columns:
                            a += layer.down.weight[:, :, r - up, r + side] @ v[:, i - up, j + side]
                for left in range(1 if number == 0 else 0, r + 1):
                    if j - left >= 0:
                        b += layer.along.weight[:, :, 0, r - left] @ h[:, i, j - left]
                b += layer.across.weight[:, :, 0, 0] @ a + layer.across.bias
                new_v[:, i, j] = half(a + conditions[number, 0])
                out = layer.leave.weight[:, :, 0, 0] @ half(b + conditions[number, 1]) + layer.leave.bias
                new_h[:, i, j] = out[:width] if number == 0 else h[:, i, j] + out[:width]
                skip[:, i, j] += out[width:]
        v, h = new_v, new_h
    return skip


@torch.no_grad()
def test_the_layers_are_their_formula():
    net = network(conditioned=True)
    torch.manual_seed(torch.seed())
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    conditions = net.conditions(torch.randn(2, 3, dtype=torch.float64))
    expected = torch.stack([slowly(net, x[i], conditions[i]) for i in range(2)])
    assert (net(x, conditions) - expected).abs().max() < 1e-10
    assert (net(x) - expected).abs().max() > 1e-3


def test_what_is_masked_is_as_if_the_grid_ended_there():
    net = network(conditioned=True)
    x, conditions = torch.randn(2, 6, 6, 7).double(), net.conditions(torch.randn(2, 3).double())
    mask = torch.zeros(2, 1, 6, 7, dtype=torch.bool)
    mask[0, :, :4, :5] = True
    mask[1, :, :6, :3] = True
    padded = net(x.masked_fill(~mask, torch.nan), conditions, mask)
    assert torch.allclose(padded[0, :, :4, :5], net(x[:1, :, :4, :5], conditions[:1])[0], atol=1e-10)
    assert torch.allclose(padded[1, :, :6, :3], net(x[1:, :, :6, :3], conditions[1:])[0], atol=1e-10)
    assert torch.allclose(net(x, conditions, torch.ones_like(mask)), net(x, conditions), atol=1e-10)


@pytest.mark.parametrize(("layers", "first", "kernel"), [(1, 3, 3), (3, 5, 3), (2, 3, 7)])
@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (6, 1), (1, 5)])
def test_steps_equal_the_whole(layers: int, first: int, kernel: int, rows: int, columns: int):
    net = network(conditioned=True, layers=layers, first=first, kernel=kernel).float()
    x, conditions = torch.randn(3, 6, rows, columns), net.conditions(torch.randn(3, 3))
    whole = net(x, conditions)
    places = [None, *x.flatten(2).unbind(2)]
    for given in range(rows):
        steps = Steps(net, conditions)
        state = steps.start(3, columns)
        steps.given(x[:, :, :given].permute(0, 2, 3, 1), state)
        # The place before the first that is asked for is known already.
        asked = [None, *places[given * columns + 1 : rows * columns]]
        said = torch.stack([steps.step(place, state) for place in asked], dim=2)
        assert (said - whole.flatten(2)[:, :, given * columns :]).abs().max() < 1e-5


def test_every_parameter_gets_a_gradient_and_is_counted():
    net = network(conditioned=True)
    net(torch.randn(1, 6, 4, 4).double(), net.conditions(torch.randn(1, 3).double())).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    w, s = 6, 5
    ends = 2 * w * (2 * w) + 2 * w + (w + 1) * (w + s)  # P and its bias, R and S and theirs
    first = 2 * w * (w * (2 * 5 + 2) + 1) + ends
    other = 2 * w * (w * (2 * 3 + 2) + 1) + ends
    assert sum(p.numel() for p in net.parameters()) == first + 2 * other + 3 * 3 * 4 * w


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layers": 0}, "layers"),
        ({"kernel": 4}, "odd"),
        ({"first": 1}, "odd"),
        ({"width": 0}, "width"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict, words: str):
    with pytest.raises(BadSetting, match=words):
        Stacks(**wrong)
