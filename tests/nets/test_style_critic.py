"""The critic of StyleGAN2: its published size, its parts written out, sizes, masks and groups."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from speechvq.errors import BadSetting
from speechvq.nets.style_critic import Halving, Scaled, StyleCritic, differences


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_number_of_weights():
    with torch.device("meta"):
        assert parameters(StyleCritic()) == 28_864_129


@pytest.mark.parametrize(("side", "left"), [(8, 4), (16, 4), (28, 7), (64, 4), (100, 6)])
def test_sizes_are_halved_until_few_are_left(side: int, left: int):
    critic = StyleCritic(side, channels=1, width=4)
    (said,) = critic(torch.randn(2, 1, side, side))
    assert said.scores.shape == (2, 1, 1, 1)
    assert said.features[-1].shape[-1] == left
    assert said.mask is None
    halvings = len(critic.blocks)
    assert [f.shape[1] for f in said.features] == [4 * min(2 ** (i + 1), 4) for i in range(halvings)]


def test_layers_are_what_is_written():
    layer, x = Scaled(5, 3).double(), torch.randn(4, 5, dtype=torch.float64)
    layer.bias.data.normal_()
    line = x @ layer.weight.T / math.sqrt(5) + layer.bias
    assert torch.allclose(layer(x), torch.where(line > 0, line, 0.2 * line) * math.sqrt(2))
    assert Scaled(64, 64, 3).weight.std().item() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        assert Scaled(64, 64, 3, bends=False)(torch.randn(4, 64, 8, 8))[..., 1:-1, 1:-1].std().item() == (
            pytest.approx(1, abs=0.15)
        )


@pytest.mark.parametrize("size", [8, 7])
def test_a_block_halves_what_was_blurred(size: int):
    block, x = Halving(2, 3).double(), torch.randn(1, 2, size, size, dtype=torch.float64)
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64

    def blurred(picture: torch.Tensor, around: int) -> torch.Tensor:
        padded = np.pad(picture[0].detach().numpy(), ((0, 0), (around, around), (around, around)))
        n = padded.shape[1] - 3
        made = [[(padded[:, i : i + 4, j : j + 4] * kernel).sum((1, 2)) for j in range(n)] for i in range(n)]
        return torch.from_numpy(np.array(made)).permute(2, 0, 1)[None]

    main = nn.functional.conv2d(
        blurred(block.first(x), 2), block.second.weight / math.sqrt(18), block.second.bias, 2
    )
    main = torch.where(main > 0, main, 0.2 * main) * math.sqrt(2)
    past = nn.functional.conv2d(blurred(x, 1), block.past.weight / math.sqrt(2))[..., ::2, ::2]
    assert main.shape == past.shape == (1, 3, size // 2, size // 2)
    assert torch.allclose(block(x), (main + past) / math.sqrt(2), atol=1e-10)


@pytest.mark.parametrize(("batch", "size"), [(8, 4), (6, 3), (5, 1), (2, 2)])
def test_differences_within_a_group(batch: int, size: int):
    x = torch.randn(batch, 3, 2, 2, dtype=torch.float64)
    found = differences(x, 4)
    for i in range(batch):
        mates = x[i % (batch // size) :: batch // size]
        assert len(mates) == size
        wanted = (mates.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(found[i], wanted.expand(1, 2, 2))


def test_what_is_masked_is_grey():
    critic, x = StyleCritic(8, width=4), torch.randn(2, 3, 8, 8)
    mask = torch.rand(2, 8, 8) < 0.5
    noise = torch.where(mask[:, None], x, 9.0)
    assert torch.equal(critic(noise, mask)[0].scores, critic(x * mask[:, None])[0].scores)


def test_bad_settings_are_sentences():
    with pytest.raises(BadSetting, match="at least 8 pixels a side"):
        StyleCritic(7)
    with pytest.raises(BadSetting, match="16 x 8 pixels do not fit this style critic, .* of 8 x 8"):
        StyleCritic(8, width=4)(torch.randn(1, 3, 16, 8))
