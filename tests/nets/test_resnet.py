"""The residual blocks of pictures against loops, and against what the paper's code does at the edges."""

import math

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets.resnet import AttnBlock, Downsample, ResBlock, Upsample, norm


def test_norm_is_per_group_and_picture():
    layer, x = norm(64), 3 * torch.randn(2, 64, 3, 5) + 1
    made = layer(x)
    for b in range(2):
        for group in range(32):
            part = x[b, 2 * group : 2 * group + 2]
            wanted = (part - part.mean()) / (part.var(correction=0) + 1e-6).sqrt()
            assert torch.allclose(made[b, 2 * group : 2 * group + 2], wanted, atol=1e-5)
    with pytest.raises(BadSetting, match="48 channels cannot be normalised in 32 groups"):
        norm(48)


def test_attention_equals_a_loop_over_places():
    block, x = AttnBlock(32).double(), torch.randn(2, 32, 3, 4, dtype=torch.double)
    h = block.norm(x)
    q, k, v = (part(h) for part in (block.q, block.k, block.v))
    made = torch.empty_like(x)
    for b in range(2):
        for i in range(3):
            for j in range(4):
                scores = torch.stack(
                    [(q[b, :, i, j] * k[b, :, a, c]).sum() for a in range(3) for c in range(4)]
                )
                weights = (scores / math.sqrt(32)).softmax(0)
                made[b, :, i, j] = sum(w * v[b, :, n // 4, n % 4] for n, w in enumerate(weights))
    assert torch.allclose(block(x), x + block.out(made), atol=1e-12)


def test_a_block_is_the_sum_of_its_input_and_two_convolutions():
    block, x = ResBlock(32, 64), torch.randn(2, 32, 5, 4)
    swish = lambda h: h * torch.sigmoid(h)  # noqa: E731
    h = block.conv2(swish(block.norm2(block.conv1(swish(block.norm1(x))))))
    assert torch.allclose(block(x), h + block.shortcut(x), atol=1e-6)
    same = ResBlock(32, 32)
    torch.nn.init.zeros_(same.conv2.weight)
    assert same.conv2.bias is not None
    torch.nn.init.zeros_(same.conv2.bias)
    assert torch.equal(same(x), x)


@pytest.mark.parametrize("side", [2, 3, 8, 9])
def test_halving_rounds_down_and_pads_on_the_right_and_below_only(side: int):
    layer, x = Downsample(1), torch.randn(1, 1, side, side)
    made = layer(x)
    assert made.shape[2:] == (side // 2, side // 2)
    assert layer.conv.bias is not None
    for i in range(side // 2):
        for j in range(side // 2):
            patch = torch.zeros(3, 3)
            seen = x[0, 0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            patch[: seen.shape[0], : seen.shape[1]] = seen
            wanted = (patch * layer.conv.weight[0, 0]).sum() + layer.conv.bias
            assert torch.allclose(made[0, 0, i, j], wanted, atol=1e-5)


def test_doubling_repeats_every_place():
    layer, x = Upsample(2), torch.randn(1, 2, 3, 2)
    assert torch.allclose(layer(x), layer.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), atol=1e-6)
