"""The residual prior's loss, made a share of the codes at a time, beside all of them at once."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.kernels import plain
from speechvq.prior import ResidualPrior
from speechvq.prior import residual_loss as shares
from speechvq.prior.residual_settings import Sizes
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.soft import SoftTargets, soft_targets

OWN = pytest.mark.parametrize("classifiers", ["one", "own"])


def made(classifiers: str, codes: int = 20) -> ResidualPrior:
    torch.manual_seed(0)
    size = Sizes(places=1, depths=1, width=16, heads=2, classifiers=classifiers)
    net = ResidualPrior(codes, num_codebooks=3, grid=(3, 4), size=size, channels=5).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    net.take(torch.randn(codes, 5))
    return net


def softly(mask: Tensor | None = None, codes: int = 20) -> SoftTargets:
    torch.manual_seed(1)
    quantizer = ResidualQuantizer(5, codebook_size=codes, num_codebooks=3)
    return soft_targets(quantizer, torch.randn(4, 5, 3, 4), temperature=2.0, sample=True, mask=mask)


def gradients(net: ResidualPrior, loss: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@OWN
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scores", [1, 100, 10**6])
def test_in_shares_it_is_what_it_is_at_once(classifiers: str, soft: bool, scores: int, monkeypatch: Any):
    monkeypatch.setitem(shares.SCORES, "cpu", scores)
    monkeypatch.setitem(plain.TILE_SCORES, "cpu", scores)
    net = made(classifiers)
    mask = torch.rand(4, 3, 4) < 0.8
    targets = softly(mask)
    codes = Codes(targets.indices, mask)
    loss = net.soft_loss(codes, targets) if soft else net.loss(codes)
    found = gradients(net, 3 * loss)

    log = net.logits(codes).log_softmax(-1)
    aims = targets.labels().probabilities if soft else None
    picked = log.gather(-1, codes.indices.clamp(min=0)[..., None])[..., 0]
    nats = picked if aims is None else (aims * log).sum(-1)
    expected = -nats[mask[:, None].expand_as(nats)].mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = gradients(net, 3 * expected)
    assert found.keys() == wanted.keys()
    for name, slope in wanted.items():
        assert torch.allclose(found[name], slope, atol=1e-5), name


def test_sharp_labels_are_hard_ones():
    net = made("one")
    quantizer = ResidualQuantizer(5, codebook_size=20, num_codebooks=3)
    targets = soft_targets(quantizer, torch.randn(4, 5, 3, 4), temperature=1e-6)
    codes = Codes(targets.indices)
    assert net.soft_loss(codes, targets).item() == pytest.approx(net.loss(codes).item(), abs=1e-5)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor held."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(one, Tensor):
                self.most = max(self.most, one.numel())
        return out


@pytest.mark.parametrize("soft", [False, True])
def test_never_are_all_the_logits_there(soft: bool, monkeypatch: Any):
    monkeypatch.setitem(shares.SCORES, "cpu", 200)
    monkeypatch.setitem(plain.TILE_SCORES, "cpu", 200)
    net, targets = made("one", 200), softly(codes=200)
    codes = Codes(targets.indices)
    widest = codes.indices.numel() * 4 * 16  # of what else there is
    with Largest() as largest:
        (net.soft_loss(codes, targets) if soft else net.loss(codes)).backward()
    assert 0 < largest.most <= widest
    with torch.no_grad(), Largest() as largest:
        net.nats(codes)
    assert largest.most <= widest
    with torch.no_grad(), Largest() as largest:
        net.logits(codes)
    assert largest.most == codes.indices.numel() * 200 > widest


@pytest.mark.parametrize("soft", [False, True])
def test_where_nothing_learns_no_gradient_is_made(soft: bool):
    net, targets = made("own"), softly()
    codes = Codes(targets.indices)
    made_by = {}
    for learns in (True, False):
        with torch.set_grad_enabled(learns), Products() as products:
            net.soft_loss(codes, targets) if soft else net.loss(codes)
        made_by[learns] = products.count
    # Of each depth: what the hidden ones learn, and the classifier.
    assert made_by[True] == made_by[False] + 2 * 3


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default)
        return func(*args, **(kwargs or {}))


def test_in_half_precision_it_is_nearly_the_same():
    net, targets = made("own"), softly()
    codes = Codes(targets.indices)
    whole, slopes = net.loss(codes), gradients(net, net.loss(codes))
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.loss(codes)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(whole.item(), rel=0.02)
    for name, slope in gradients(net, loss).items():
        assert (slope - slopes[name]).norm() < 0.1 * slopes[name].norm() + 1e-3, name


def test_targets_of_other_codes_are_refused():
    targets = softly()
    with pytest.raises(BadSetting, match="the targets are of codes"):
        made("one").soft_loss(Codes(targets.indices[:, :, :2]), targets)
