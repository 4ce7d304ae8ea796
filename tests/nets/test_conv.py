"""Convolutions with channels last in memory equal torch's own."""

import pytest
import torch

from speechvq.nets.conv import ChannelNorm, Conv1d, ResidualBlock, channels_last


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (3, 1, 4, 4), (4, 2, 1, 1), (1, 1, 0, 1)]
)
def test_conv_is_torchs(kernel, stride, padding, dilation):
    ours = Conv1d(5, 7, kernel, stride, padding, dilation)
    theirs = torch.nn.Conv1d(5, 7, kernel, stride, padding, dilation)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 31)
    torch.testing.assert_close(ours(channels_last(x)), theirs(x), rtol=1e-4, atol=1e-5)


def test_channel_norm_normalises_each_place():
    made = ChannelNorm(16)(torch.randn(2, 16, 9) * 5 + 3)
    torch.testing.assert_close(made.mean(1), torch.zeros(2, 9), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.var(1, correction=0), torch.ones(2, 9), rtol=0, atol=1e-3)


def test_block_reaches_as_far_as_it_says_and_hears_its_condition():
    block = ResidualBlock(8, dilation=3, condition=4)
    x, voice = torch.randn(1, 8, 21, requires_grad=True), torch.randn(1, 4)
    block(x, voice)[0, :, 10].sum().backward()
    assert x.grad[0].abs().sum(0).nonzero().flatten().tolist() == [10 - block.reach, 10, 10 + block.reach]
    assert not torch.equal(block(x, voice), block(x, -voice))
