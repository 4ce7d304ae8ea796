"""Critics: shapes, the folding by period, masks."""

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets.critic import PERIODS, RESOLUTIONS, Critic, PeriodCritic, SpectralCritic


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_papers_sizes_at_width_32():
    # HiFi-GAN's multi-period critic, plain weights: 5 x (160+32) + ... counted by hand per layer,
    # plus one magnitude per output channel for weight normalisation.
    layers = [(1, 32, 5), (32, 128, 5), (128, 512, 5), (512, 1024, 5), (1024, 1024, 5), (1024, 1, 3)]
    assert parameters(PeriodCritic(2)) == sum(i * o * k + 2 * o for i, o, k in layers)
    assert len(Critic().members) == len(PERIODS) + len(RESOLUTIONS)


def test_width_is_one_dial_for_all():
    assert parameters(Critic(4)) < parameters(Critic(8)) / 3 < parameters(Critic(16)) / 9


def test_maps_of_every_member_and_a_length_that_no_period_divides():
    wave = torch.randn(2, 1, 4001)
    for judgement in Critic(2)(wave):
        assert judgement.scores.shape[:2] == (2, 1)
        assert len(judgement.features) == 5
        assert judgement.mask is None
        assert all(f.shape[0] == 2 and f.isfinite().all() for f in judgement.features)


def test_folding_puts_samples_a_period_apart_in_one_column():
    folded = PeriodCritic(3, 1)._fold(torch.arange(8.0).reshape(1, 1, 8), "reflect")
    assert folded[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 6]]


def test_a_change_at_one_phase_is_heard_in_that_column_only():
    critic = PeriodCritic(5, 2)
    wave = torch.randn(1, 1, 500)
    other = wave.clone()
    other[..., 3::5] += 1
    difference = (critic(wave).scores - critic(other).scores).abs().amax(dim=(0, 1, 2))
    assert (difference > 0).tolist() == [False, False, False, True, False]


def test_what_lies_outside_the_mask_is_not_heard():
    critic = Critic(2)
    mask = torch.arange(4000)[None] < torch.tensor([[4000], [1500]])
    wave = torch.randn(2, 1, 4000)
    noisy = torch.where(mask[:, None], wave, torch.randn(2, 1, 4000))
    for a, b in zip(critic(wave, mask), critic(noisy, mask), strict=True):
        assert torch.equal(a.scores, b.scores)
        assert a.mask is not None
        assert 0.3 < a.mask[1].mean() < 0.45


def test_silence_has_a_finite_gradient():
    wave = torch.zeros(1, 1, 2048, requires_grad=True)
    SpectralCritic((512, 50, 240), 2)(wave).scores.sum().backward()
    assert wave.grad is not None
    assert wave.grad.isfinite().all()


def test_no_critic_at_all_is_refused():
    with pytest.raises(BadSetting, match="width"):
        Critic(0)
    with pytest.raises(BadSetting, match="period"):
        Critic(4, periods=(), resolutions=())
