"""The contrast of neighbours against a loop over its definition, masks, and what it teaches."""

import math

import pytest
import torch
import torch.nn.functional as F

from speechvq.errors import BadSetting
from speechvq.losses.contrastive import neighbour_contrast


def by_loop(a, b, mask, near, far, temperature):
    """The definition, pair by pair."""
    costs = []
    for x, y, valid in zip(a.double(), b.double(), mask, strict=True):
        places = [t for t in range(len(valid)) if valid[t]]
        likeness = F.normalize(x, dim=0).T @ F.normalize(y, dim=0) / temperature
        for t in places:
            others = sum(math.exp(likeness[t, r]) for r in places if abs(t - r) >= far)
            for s in places:
                if abs(t - s) <= near and others:
                    own = math.exp(likeness[t, s])
                    costs.append(-math.log(own / (own + others)))
    return sum(costs) / max(1, len(costs))


@pytest.mark.parametrize(("near", "far"), [(0, 1), (2, 6), (1, 9)])
def test_equals_the_loop_and_sees_no_padding(near, far):
    a, b = torch.randn(2, 3, 5, 14)
    mask = torch.arange(14) < torch.tensor([[14], [9], [2]])
    found = neighbour_contrast(a, b, mask, near=near, far=far, temperature=0.3)
    assert found.item() == pytest.approx(by_loop(a, b, mask, near, far, 0.3), rel=1e-5)
    padded = [torch.where(mask[:, None], x, 7.0) for x in (a, b)]
    assert torch.equal(neighbour_contrast(*padded, mask, near=near, far=far, temperature=0.3), found)


def test_gradients_are_finite_where_there_is_nothing_to_tell_apart():
    a, b = torch.randn(2, 2, 5, 4, requires_grad=True)
    loss = neighbour_contrast(a, b, far=4)  # four places: none is four apart
    assert loss.item() == 0
    loss.backward()
    longer = torch.randn(2, 5, 9, requires_grad=True)
    neighbour_contrast(longer, longer).backward()
    assert longer.grad is not None
    assert torch.isfinite(longer.grad).all()


def test_float32_under_autocast():
    a, b = torch.randn(2, 2, 5, 20)
    with torch.autocast("cpu", torch.bfloat16):
        found = neighbour_contrast(a, b)
    assert found.dtype == torch.float32
    assert torch.equal(found, neighbour_contrast(a, b))


def test_teaches_what_lasts_and_forgets_what_is_always_there():
    """Vectors of a mixture of something lasting, something quick and something constant."""
    kinds = torch.randint(4, (32, 10)).repeat_interleave(5, 1)
    lasting = F.one_hot(kinds, 4).float()
    quick, voice = torch.randn(32, 50, 4), torch.randn(32, 1, 4).expand(32, 50, 4)
    signal = torch.cat([lasting, quick, voice], 2)
    layer = torch.nn.Linear(12, 4, bias=False)
    optimiser = torch.optim.Adam(layer.parameters(), 0.02)
    for _ in range(150):
        vectors = layer(signal).transpose(1, 2)
        loss = neighbour_contrast(vectors, vectors, near=2, far=6)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    weight = layer.weight.detach()
    weight = weight - weight[:, :4].mean(1, keepdim=True) * (torch.arange(12) < 4)
    of_lasting, of_quick, of_voice = (part.norm() for part in weight.split(4, 1))
    assert of_lasting > 3 * of_quick
    assert of_lasting > 2 * of_voice


@pytest.mark.parametrize("settings", [{"near": 6}, {"near": -1}, {"temperature": 0.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(BadSetting, match="apart"):
        neighbour_contrast(torch.randn(1, 2, 9), torch.randn(1, 2, 9), **settings)
