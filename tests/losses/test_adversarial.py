"""Adversarial losses against sums written out, masks, and a game that the maker can win."""

import pytest
import torch

from speechvq.errors import UnknownName
from speechvq.losses.adversarial import critic_loss, feature_matching, maker_loss, masked_mean


def test_hinge_by_hand():
    real, made = [torch.tensor([[[[2.0, 0.5]]]])], [torch.tensor([[[[-3.0, 0.5]]]])]
    # real: (0 + .5) / 2; made: (0 + 1.5) / 2
    assert critic_loss(real, made, [None]).item() == pytest.approx(1.0)
    assert maker_loss(made, [None]).item() == pytest.approx(1.25)


def test_squares_by_hand():
    real, made = [torch.tensor([[[[2.0, 0.5]]]])], [torch.tensor([[[[-1.0, 0.5]]]])]
    assert critic_loss(real, made, [None], kind="squares").item() == pytest.approx(1.25 / 2 + 1.25 / 2)
    assert maker_loss(made, [None], kind="squares").item() == pytest.approx((4 + 0.25) / 2)


def test_vanilla_is_the_cross_entropy_of_telling_them_apart():
    real, made = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    want = entropy(real, torch.ones_like(real)) + entropy(made, torch.zeros_like(made))
    assert critic_loss([real], [made], [None], kind="vanilla").item() == pytest.approx(want.item(), rel=1e-5)
    assert maker_loss([made], [None], kind="vanilla").item() == pytest.approx(-made.mean().item(), rel=1e-5)


def test_the_logistic_maker_wants_to_be_taken_for_real():
    real, made = torch.randn(2, 1, 1, 1), torch.randn(2, 1, 1, 1)
    vanilla, logistic = (critic_loss([real], [made], [None], kind=kind) for kind in ("vanilla", "logistic"))
    assert torch.equal(vanilla, logistic)
    want = -made.sigmoid().log().mean()
    assert maker_loss([made], [None], kind="logistic").item() == pytest.approx(want.item(), rel=1e-5)


def test_a_critic_that_says_nothing_loses_what_the_papers_say():
    # VQGAN halves both: its famous "stuck at 1.0" and at log 2.
    nothing = [torch.zeros(1, 1, 2, 2)]
    assert critic_loss(nothing, nothing, [None]).item() / 2 == 1.0
    assert critic_loss(nothing, nothing, [None], kind="vanilla").item() / 2 == pytest.approx(0.693147)


def test_a_weight_means_the_same_with_more_critics():
    scores = torch.randn(2, 1, 3, 4)
    once, thrice = maker_loss([scores], [None]), maker_loss([scores] * 3, [None] * 3)
    assert torch.allclose(once, thrice)
    maps = [torch.randn(2, 4, 3, 4), torch.randn(2, 4, 3, 2)]
    other = [m + 1 for m in maps]
    assert feature_matching([maps], [other], [None]).item() == pytest.approx(2.0)
    assert feature_matching([maps] * 3, [other] * 3, [None] * 3).item() == pytest.approx(2.0, abs=1e-5)


def test_masked_places_cost_nothing_and_maps_of_another_size_are_covered():
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    values = torch.tensor([1.0, 3.0, 100.0, 100.0]).reshape(1, 1, 1, 4)
    assert masked_mean(values, mask).item() == 2
    half = torch.tensor([[2.0, 50.0], [4.0, 50.0]]).reshape(1, 1, 2, 2)
    assert masked_mean(half, mask).item() == 3
    assert masked_mean(values, torch.zeros(1, 1, 1, 4)).item() == 0


def test_feature_matching_does_not_teach_the_real_side():
    real, made = torch.randn(1, 2, 3, 3, requires_grad=True), torch.randn(1, 2, 3, 3, requires_grad=True)
    feature_matching([[real]], [[made]], [None]).backward()
    assert real.grad is None
    assert made.grad is not None


@pytest.mark.parametrize("kind", ["hinge", "squares", "vanilla"])
def test_following_the_makers_loss_raises_its_score(kind):
    score = torch.full((1, 1, 1, 1), -0.5, requires_grad=True)
    maker_loss([score], [None], kind=kind).backward()
    assert score.grad is not None
    assert score.grad.item() < 0


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(UnknownName, match="hinge, logistic, squares, vanilla"):
        maker_loss([torch.zeros(1, 1, 1, 1)], [None], kind="wasserstein")
