"""The compiled transformer against the blocks in float64, on fresh random weights, for every instruction set.

Tolerance: 1e-5 of the largest.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.errors import BadSetting
from speechvq.kernels import transformer_cpu
from speechvq.kernels.transformer_cpu import BLOCK, NativeTransformer, fits
from speechvq.nets.transformer import Block, Cache, Depth

pytestmark = pytest.mark.skipif(not transformer_cpu.available(), reason="the kernels are not compiled here")

SHAPES = [
    Depth(2, 64, 4, 7, "learned"),
    Depth(3, 80, 1, 9),
    Depth(1, 32, 1, 9, inner=16),
    Depth(1, 256, 8, 9),
]


def weights(block: Block) -> dict[str, Tensor]:
    layers = (block.before, block.look, block.bring, block.between, block.widen, block.narrow)
    return dict(zip(BLOCK, (part for layer in layers for part in (layer.weight, layer.bias)), strict=True))


def random_blocks(depth: Depth) -> list[Block]:
    blocks = [Block(depth) for _ in range(depth.layers)]
    for block in blocks:
        for tensor in block.parameters():
            nn.init.normal_(tensor, std=0.3)
    return blocks


def assert_close(got: Tensor, wanted: Tensor) -> None:
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("depth", SHAPES)
@pytest.mark.parametrize("rows", [1, 3, 8, 19])
def test_every_place_is_that_of_the_blocks(kernel: str, depth: Depth, rows: int) -> None:
    blocks = random_blocks(depth)
    net = NativeTransformer([weights(block) for block in blocks], heads=depth.heads)
    cache, length = Cache(depth, rows, 9, torch.zeros(1)), 9
    x = torch.randn(rows, length, depth.width)
    wanted, turns = x.double(), cache.turns
    for block in blocks:
        wanted = block.double()(wanted, turns)
    for place in range(length):
        turn = None if turns is None else turns[place]
        first = max(0, place + 1 - depth.reach)
        said = net.step(x[:, place], cache.kept, place=place, first=first, turn=turn)
        assert_close(said, wanted[:, place])


@torch.no_grad()
def test_a_row_alone_is_what_it_is_in_a_batch(kernel: str) -> None:
    depth = SHAPES[0]
    net = NativeTransformer([weights(block) for block in random_blocks(depth)], heads=depth.heads)
    x, whole = torch.randn(11, 64), Cache(depth, 11, 3, torch.zeros(1))
    for row in range(11):
        alone = Cache(depth, 1, 3, torch.zeros(1))
        for place in range(3):
            together = net.step(x, whole.kept, place=place)
            assert torch.equal(net.step(x[row : row + 1], alone.kept, place=place), together[row : row + 1])


def product(weight: Tensor, x: Tensor) -> Tensor:
    """x (R, E), normalised, times ``weight`` (Q, E), by the compiled library."""
    end = {"norm": torch.ones(weight.shape[1]), "norm_bias": torch.zeros(weight.shape[1])}
    end |= {"weight": weight[None], "bias": torch.zeros(1, len(weight))}
    return NativeTransformer([], heads=1, leave=end).step(x, (), place=0, leave=0)


@pytest.mark.parametrize("inputs", [16, 64, 112, 208])
@pytest.mark.parametrize("rows", [1, 4, 5, 17])
def test_weights_are_off_by_less_than_a_bit_of_twenty(kernel: str, inputs: int, rows: int) -> None:
    weight = torch.randn(80, inputs) * 10 ** torch.empty(80, 1).uniform_(-12, 12)
    weight[torch.rand(80, inputs) < 0.02] *= 50  # far from all others of their stretch
    weight[3] = 0
    x = torch.randn(rows, inputs)
    normal, exact = F.layer_norm(x.double(), (inputs,)), weight.double()
    off = (product(weight, x) - normal @ exact.T).abs()
    largest = torch.stack([part.abs().amax(1) for part in exact.split(64, 1)], 1)
    of_weights = torch.stack([part.abs().sum(1) for part in normal.split(64, 1)], 1) @ largest.T
    of_sums = normal.abs() @ exact.abs().T  # and of the norm: these are in single precision
    assert (off <= 1.01 * 2**-20 * of_weights + 4e-7 * of_sums + 1e-26).all()


def test_what_is_no_number_stays_none_and_what_is_tiny_nothing(kernel: str) -> None:
    weight = torch.randn(16, 80)
    weight[1, 70], weight[2, 3], weight[4] = torch.nan, torch.inf, 1e-30 * weight[4]
    said = product(weight, torch.randn(3, 80))
    assert not said[:, [1, 2]].isfinite().any()
    assert said[:, [0, 3, *range(5, 16)]].isfinite().all()
    assert (said[:, 4].abs() < 1e-27).all()


@torch.no_grad()
@pytest.mark.parametrize("layers", [0, 1])
def test_last_layers_follow_a_norm(kernel: str, layers: int) -> None:
    depth = Depth(max(1, layers), 48, 1, 9)
    blocks, norm = random_blocks(depth)[:layers], nn.LayerNorm(48)
    nn.init.normal_(norm.weight)
    weight, bias, x = torch.randn(3, 112, 48), torch.randn(3, 112), torch.randn(4, 48)
    end = {"norm": norm.weight, "norm_bias": norm.bias, "weight": weight, "bias": bias}
    net = NativeTransformer([weights(block) for block in blocks], heads=1, leave=end)
    kept = Cache(depth, 4, 1, torch.zeros(1)).kept[:layers]
    out = x
    for block in blocks:
        out = block(out[:, None], None)[:, 0]
    for which in range(3):
        wanted = F.linear(norm(out), weight[which], bias[which])
        assert_close(net.step(x, kept, place=0, leave=which), wanted)
    assert_close(net.step(x, kept, place=0), out)


def test_what_it_does_not_take_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits(64, 64, 4)
    assert not fits(64, 64, 8)
    assert not fits(64, 64, 4, outputs=100)
    (block,) = random_blocks(Depth(1, 32, 4, 9))
    with pytest.raises(BadSetting, match="multiples of 16"):
        NativeTransformer([weights(block)], heads=4)
    with pytest.raises(ValueError, match=r"bring of a block is \(32, 31\), not \(32, 32\)"):
        NativeTransformer([weights(block), weights(block) | {"bring": torch.ones(32, 31)}], heads=2)
    net = NativeTransformer([weights(block)], heads=2)
    kept = (torch.zeros(2, 2, 2, 5, 16),)
    for x, place, first in (
        (torch.zeros(2, 16), 0, 0),
        (torch.zeros(2, 32), 5, 0),
        (torch.zeros(2, 32), 1, 2),
    ):
        with pytest.raises(ValueError, match="no input of this network"):
            net.step(x, kept, place=place, first=first)
    with pytest.raises(ValueError, match=r"keeps 1 contiguous buffers \(3, 2, 2, 5, 16\)"):
        net.step(torch.zeros(3, 32), kept, place=0)
    net.step(torch.zeros(2, 32), kept, place=0)
    with pytest.raises(ValueError, match=r"keeps 1 contiguous buffers \(3, 2, 2, 5, 16\)"):
        net.step(torch.zeros(3, 32), kept, place=0)
    with pytest.raises(TypeError, match="tuple, not as a list"):
        net.step(torch.zeros(2, 32), [*kept], place=0)
    for strange in (kept[0].double(), kept[0].half(), kept[0].to("meta")):
        with pytest.raises(ValueError, match="contiguous buffers"):
            net.step(torch.zeros(2, 32), (strange,), place=0)
    for turn in (torch.zeros(7, dtype=torch.complex64), torch.zeros(8, dtype=torch.complex128)):
        with pytest.raises(ValueError, match=r"turns by \(8,\) complex64"):
            net.step(torch.zeros(2, 32), kept, place=0, turn=turn)
    for leave in (0, -2):
        with pytest.raises(ValueError, match="has 0 last layers"):
            net.step(torch.zeros(2, 32), kept, place=0, leave=leave)
    monkeypatch.setenv("SPEECHVQ_KERNEL", "strange")
    with pytest.raises(BadSetting, match="SPEECHVQ_KERNEL names one that this machine cannot run"):
        NativeTransformer([weights(block)], heads=2)
