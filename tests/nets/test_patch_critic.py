"""The critic of patches: published sizes and numbers, what each score sees, masks, act norm."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from speechvq.errors import BadSetting
from speechvq.nets.patch_critic import ActNorm, PatchCritic

from ..hashfill import fill, values


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("layers", "colour", "grey"),
    [(1, 136_513, 134_465), (2, 663_361, 661_313), (3, 2_765_633, 2_763_585), (4, 6_960_961, 6_958_913)],
)
def test_published_numbers_of_weights(layers: int, colour: int, grey: int):
    assert parameters(PatchCritic(layers)) == colour
    assert parameters(PatchCritic(layers, channels=1)) == grey


@pytest.mark.parametrize(("layers", "mean", "std"), [(2, 0.226384, 0.137765), (3, -0.106208, 0.093015)])
def test_published_numbers(layers: int, mean: float, std: float):
    critic = PatchCritic(layers).eval()
    fill(critic, lambda own: own.replace("layers", "main"))
    with torch.no_grad():
        (judgement,) = critic(values("input", (1, 3, 64, 64)))
    assert judgement.scores.mean().item() == pytest.approx(mean, abs=1e-4)
    assert judgement.scores.std(correction=0).item() == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize(("layers", "patch", "side"), [(1, 16, 126), (2, 34, 62), (3, 70, 30), (4, 142, 14)])
def test_what_a_score_sees(layers: int, patch: int, side: int):
    critic = PatchCritic(layers, channels=1, width=2).eval().double()
    for part in critic.modules():  # weights above zero, so that nothing that is seen cancels out
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 0.1)
    picture = torch.rand(1, 1, 256, 256, dtype=torch.double, requires_grad=True)
    (judgement,) = critic(picture)
    assert judgement.scores.shape == (1, 1, side, side)
    judgement.scores[0, 0, side // 2, side // 2].backward()
    assert picture.grad is not None
    seen = picture.grad[0, 0] != 0
    assert (seen.any(0).sum().item(), seen.any(1).sum().item()) == (patch, patch)
    assert critic.receptive_field == patch


def test_weights_begin_as_in_the_paper():
    critic = PatchCritic(3, width=32)
    convolutions = [p for p in critic.modules() if isinstance(p, nn.Conv2d)]
    drawn = torch.cat([p.weight.flatten() for p in convolutions])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)
    assert [p.bias is not None for p in convolutions] == [True, False, False, False, True]
    acting = [p.bias for p in PatchCritic(3, width=4, norm="act").modules() if isinstance(p, nn.Conv2d)]
    assert all(bias is not None for bias in acting)


def test_features_are_the_maps_between():
    (judgement,) = PatchCritic(3, width=4)(torch.randn(2, 3, 32, 48))
    assert [f.shape[1] for f in judgement.features] == [4, 8, 16, 32]
    assert judgement.scores.shape == (2, 1, 2, 4)
    assert judgement.mask is None


def test_what_lies_outside_the_mask_is_not_seen():
    critic, mask = PatchCritic(2, width=4), torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0], mask[1, :20, :16] = True, True
    picture = torch.randn(2, 3, 32, 32)
    other = torch.where(mask[:, None], picture, torch.randn_like(picture))
    (a,), (b,) = critic(picture, mask), critic(other, mask)
    assert torch.equal(a.scores, b.scores)
    assert torch.equal(a.mask, mask[:, None].float())


def test_act_norm_makes_the_first_batch_standard_and_stays():
    layer = ActNorm(3)
    x = 5 * torch.randn(4, 3, 6, 5) + torch.arange(3.0).reshape(1, 3, 1, 1)
    assert torch.equal(layer.eval()(x), x)
    made = layer.train()(x)
    assert torch.allclose(made.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(made.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    before = layer.scale.clone()
    layer(2 * x)
    assert torch.equal(layer.scale, before)


def test_act_norm_starts_when_its_weights_are_held_still():
    critic = PatchCritic(1, width=4, norm="act")
    still = {name: p.detach() for name, p in critic.named_parameters()}
    functional_call(critic, still, (torch.randn(2, 3, 16, 16),))
    (norm,) = (p for p in critic.modules() if isinstance(p, ActNorm))
    assert norm.started
    assert norm.loc.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PatchCritic(0), "above 0"),
        (lambda: PatchCritic(norm="group"), "batch or act, not 'group'"),
        (lambda: PatchCritic(3, width=1)(torch.zeros(1, 3, 23, 64)), "needs 24 a side"),
    ],
)
def test_bad_settings_are_sentences(make, sentence: str):
    with pytest.raises(BadSetting, match=sentence):
        make()


def test_the_smallest_picture_has_one_score():
    for layers in (1, 2, 3, 4):
        side = 3 * 2**layers
        (judgement,) = PatchCritic(layers, width=1)(torch.randn(2, 3, side, side))
        assert judgement.scores.shape == (2, 1, 1, 1)
