"""The transformer: beside one written with loops, causal, and the same with a cache."""

import math

import pytest
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.nets.transformer import Depth, Transformer, turns_of
from speechvq.nets.transformer_step import Steps

POSITIONS = pytest.mark.parametrize("positions", ["rotary", "learned", "given"])


def made(**more) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(Depth(**{"layers": 2, "width": 16, "heads": 2, "reach": 12} | more)).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net


def normed(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias


def turned(x: Tensor, place: int) -> Tensor:
    """Each pair of channels as a complex number, turned."""
    out = x.clone()
    for i in range(len(x) // 2):
        angle = torch.tensor(place / 10_000 ** (2 * i / len(x)), dtype=torch.float64)
        number = torch.complex(x[2 * i], x[2 * i + 1]) * torch.complex(angle.cos(), angle.sin())
        out[2 * i], out[2 * i + 1] = number.real, number.imag
    return out


def slowly(net: Transformer, x: Tensor, unmasked: int = 0) -> Tensor:
    """One sequence (L, D), place by place, head by head, key by key."""
    depth, size = net.depth, net.depth.channels
    if net.places is not None:
        x = x + net.places.weight[: len(x)]
    for block in net.blocks:
        looks = [(normed(row, block.before) @ block.look.weight.T + block.look.bias).chunk(3) for row in x]
        rows = []
        for t in range(len(x)):
            seen = []
            for head in range(depth.heads):
                part = slice(head * size, (head + 1) * size)
                keys = list(range(max(0, t + 1 - depth.reach), t + 1))
                if t < unmasked:
                    keys = sorted({*keys, *range(unmasked)})
                turn = turned if depth.positions == "rotary" else (lambda v, _: v)
                q = turn(looks[t][0][part], t)
                scores = [q @ turn(looks[s][1][part], s) / math.sqrt(size) for s in keys]
                weights = torch.stack(scores).softmax(0)
                seen.append(sum(w * looks[s][2][part] for w, s in zip(weights, keys, strict=True)))
            h = x[t] + torch.cat(seen) @ block.bring.weight.T + block.bring.bias
            wide = normed(h, block.between) @ block.widen.weight.T + block.widen.bias
            wide = wide * (1 + torch.erf(wide / math.sqrt(2))) / 2
            rows.append(h + wide @ block.narrow.weight.T + block.narrow.bias)
        x = torch.stack(rows)
    return torch.stack([normed(row, net.last) for row in x])


@POSITIONS
@pytest.mark.parametrize("reach", [9, 4])
@pytest.mark.parametrize("unmasked", [0, 1, 3, 4])
@torch.no_grad()
def test_it_is_the_papers_by_loops(positions: str, reach: int, unmasked: int):
    length = reach if positions == "learned" else 9
    net = made(positions=positions, reach=reach).double()
    x = torch.randn(2, length, 16, dtype=torch.float64)
    for row, out in zip(x, net(x, unmasked=unmasked), strict=True):
        # Turning is done in single precision.
        assert torch.allclose(out, slowly(net, row, unmasked), atol=1e-5)


@POSITIONS
@pytest.mark.parametrize(("length", "pieces"), [(12, [1] * 12), (12, [5, 1, 4, 2]), (30, [14, 1, 1, 9, 5])])
@torch.no_grad()
def test_with_a_cache_it_is_the_same(positions: str, length: int, pieces: list[int]):
    net = made(positions=positions, reach=30 if positions == "learned" else 12)
    x = torch.randn(3, length, 16)
    cache = net.start(3, length)
    parts = [net(piece, cache) for piece in x.split(pieces, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), net(x), atol=1e-5)
    assert cache.place == length


@pytest.mark.parametrize("inner", [8, 24])
@torch.no_grad()
def test_the_attention_may_be_narrower_or_wider_than_the_rest(inner: int):
    net, x = made(inner=inner, positions="given").double(), torch.randn(2, 9, 16, dtype=torch.float64)
    assert net.blocks[0].look.weight.shape == (3 * inner, 16)
    assert net.depth.channels == inner // 2
    out = net(x)
    for row, expected in zip(x, out, strict=True):
        assert torch.allclose(expected, slowly(net, row), atol=1e-9)
    steps, cache = Steps(net), net.start(2, 9)
    outs = [net(x[:, :4], cache), *(steps.step(h, cache)[:, None] for h in x[:, 4:].unbind(1))]
    assert torch.allclose(torch.cat(outs, dim=1), out, atol=1e-9)


@torch.no_grad()
def test_what_each_block_returns_is_what_a_shallower_net_ends_with():
    net, x, states = made(layers=3), torch.randn(2, 5, 16), []
    out = net(x, states=states)
    assert len(states) == 3
    assert torch.equal(net.last(states[-1]), out)
    shallow = made(layers=1)
    shallow.load_state_dict({name: net.state_dict()[name] for name in shallow.state_dict()})
    assert torch.equal(net.last(states[0]), shallow(x))


@POSITIONS
def test_no_output_sees_what_comes_later_or_is_out_of_reach(positions: str):
    net = made(positions=positions, layers=1, reach=7 if positions == "learned" else 4)
    x = torch.randn(1, 7, 16, requires_grad=True)
    net(x)[0, 5].square().sum().backward()
    assert x.grad is not None
    seen = (x.grad[0].abs().sum(1) > 0).tolist()
    assert seen == ([True] * 6 + [False] if positions == "learned" else [False, False, *[True] * 4, False])


@POSITIONS
@pytest.mark.parametrize("pieces", [[5, *[1] * 7], [7, 4, 1], [12]])
@torch.no_grad()
def test_a_beginning_that_sees_itself_is_the_same_with_a_cache(positions: str, pieces: list[int]):
    net, x = made(positions=positions), torch.randn(3, 12, 16)
    cache = net.start(3, 12)
    parts = [net(piece, cache, unmasked=5) for piece in x.split(pieces, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), net(x, unmasked=5), atol=1e-5)
    # And one place at a time, by the layout of weights that is made for it.
    steps, cache = Steps(net), net.start(3, 12)
    outs = [net(x[:, :5], cache, unmasked=5), *(steps.step(h, cache)[:, None] for h in x[:, 5:].unbind(1))]
    assert torch.allclose(torch.cat(outs, dim=1), net(x, unmasked=5), atol=1e-5)


def test_a_beginning_that_sees_itself_sees_nothing_else():
    net, x = made(layers=1), torch.randn(1, 7, 16, requires_grad=True)
    net(x, unmasked=4)[0, 1].square().sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(1) > 0).tolist() == [True] * 4 + [False] * 3


def test_a_beginning_that_sees_itself_is_read_at_once():
    net, x = made(), torch.randn(1, 5, 16)
    with pytest.raises(BadSetting, match="first 6 places"):
        net(x, unmasked=6)
    cache = net.start(1, 12)
    net(x, cache)
    with pytest.raises(BadSetting, match="first 6 places"):
        net(x, cache, unmasked=6)


@torch.no_grad()
def test_rotary_positions_know_distances_only():
    net, x = made(), torch.randn(1, 6, 16)
    block, turns = net.blocks[0], turns_of(net.depth, 600, x.device)
    assert turns is not None
    early, late = (block(x, turns[begin : begin + 6]) for begin in (0, 500))
    assert torch.allclose(early, late, atol=1e-4)
    assert not torch.allclose(early, block(x, None), atol=1e-2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0},
        {"width": 30, "heads": 4},
        {"width": 6, "heads": 2},
        {"positions": "sine"},
        {"dropout": 1.0},
        {"inner_dropout": -0.1},
        {"inner": -16},
        {"inner": 6, "heads": 2},
    ],
)
def test_wrong_settings_are_sentences(wrong: dict):
    with pytest.raises(BadSetting):
        Depth(**wrong)


def test_more_places_than_were_learned_are_refused():
    net = made(positions="learned")
    with pytest.raises(BadSetting, match="13 places are more than the 12"):
        net(torch.randn(1, 13, 16))
    with pytest.raises(BadSetting, match="more than the 12"):
        net.start(1, 13)


@pytest.mark.parametrize("which", ["dropout", "inner_dropout"])
def test_dropout_is_for_training_only(which: str):
    net = made(**{which: 0.5})
    x = torch.randn(1, 5, 16)
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))


@torch.no_grad()
def test_inner_dropout_is_of_the_weights_and_of_the_wide_layer():
    net, x = made(layers=1, inner_dropout=0.4, positions="given").train(), torch.randn(1, 1, 16)
    block = net.blocks[0]
    # One place gives all weight to itself, or none: 0 or 1 / 0.6.
    torch.nn.init.zeros_(block.narrow.weight)
    torch.nn.init.zeros_(block.narrow.bias)
    torch.nn.init.eye_(block.bring.weight)
    torch.nn.init.zeros_(block.bring.bias)
    v = block.look(block.before(x))[0, 0, 32:]
    shares = torch.stack([(block(x, None) - x)[0, 0] / v for _ in range(600)])[:, [0, 8]]  # of either head
    assert torch.minimum(shares.abs(), (shares - 1 / 0.6).abs()).max() < 1e-3
    assert (shares.abs() < 1e-3).float().mean().item() == pytest.approx(0.4, abs=0.06)
    torch.nn.init.normal_(block.narrow.weight)
    block.bring.weight.zero_()
    assert not torch.allclose(block(x, None), block(x, None))
