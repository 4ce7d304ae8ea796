"""The transformer one place at a time, in torch and compiled, beside the whole of it at once."""

import pytest
import torch

from speechvq.kernels.transformer_cpu import available
from speechvq.nets.transformer import Depth, Transformer
from speechvq.nets.transformer_step import Steps


@pytest.mark.parametrize("kernel", ["", "plain"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "depth",
    [
        Depth(layers=2, width=32, heads=2, reach=30, positions="learned"),
        Depth(layers=2, width=32, heads=2, reach=7),
        Depth(layers=2, width=16, heads=2, reach=30),  # too narrow to be compiled
    ],
)
@torch.no_grad()
def test_place_by_place_it_is_the_whole(depth: Depth, rows: int, kernel: str, monkeypatch):
    if kernel:
        monkeypatch.setenv("SPEECHVQ_KERNEL", kernel)
    torch.manual_seed(0)
    net, x = Transformer(depth).eval(), torch.randn(rows, 20, depth.width)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    whole, cache, steps = net(x), net.start(rows, 20), Steps(net)
    assert (steps.native is not None) == (not kernel and depth.width == 32 and available())
    begun = net(x[:, :4], cache)
    assert torch.allclose(begun, whole[:, :4], atol=1e-4)
    for place in range(4, 20):
        assert torch.allclose(steps.step(x[:, place], cache), whole[:, place], atol=1e-4)
        assert cache.place == place + 1
