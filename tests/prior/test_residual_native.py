"""The residual prior written by the compiled transformer: what plain torch says, on fresh random weights."""

import pytest
import torch
from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.kernels import transformer_cpu
from speechvq.nets.transformer import Depth
from speechvq.nets.transformer_native import FEW, NativeStack, usable
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import Sizes
from speechvq.prior.residual_step import Steps

pytestmark = pytest.mark.skipif(not transformer_cpu.available(), reason="the kernels are not compiled here")

SIZE = Sizes(places=2, depths=2, width=64, heads=4, reach=7)
KINDS = {
    "grid": ResidualPrior(48, num_codebooks=3, grid=(3, 4), size=SIZE, channels=8, labels=("a", "b")),
    "turning": ResidualPrior(48, num_codebooks=3, size=SIZE, speakers=("a", "b")),
    "own": ResidualPrior(
        48, num_codebooks=3, grid=(3, 4), size=Sizes(2, 1, 64, 4, classifiers="own"), channels=8
    ),
    "odd": ResidualPrior(50, num_codebooks=3, grid=(3, 4), size=SIZE, channels=8),
}


def told(prior: ResidualPrior) -> dict[str, Tensor]:
    return dict.fromkeys(("label", "speaker"), torch.tensor([1, 0, 1]))


def grid_of(prior: ResidualPrior) -> tuple[int, ...]:
    return prior.grid or (12,)


@torch.no_grad()
def said(prior: ResidualPrior, codes: Tensor, begun: int) -> Tensor:
    """Logits (B, P, K, Q) of the places from ``begun`` on."""
    steps, found = Steps(prior, prior._tell(told(prior), 3), grid_of(prior)), []
    for place in range(begun, codes.shape[1]):
        steps.place(codes[:, :begun] if place == begun else None)
        for book in range(3):
            found.append(steps.logits(book))
            steps.take(codes[:, place, book], book)
    assert isinstance(steps.over_places, NativeStack) == transformer_cpu.available()
    return torch.stack(found, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begun", [0, 5])
def test_it_says_what_torch_says(kind: str, begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = KINDS[kind].eval()
    for tensor in prior.state_dict().values():
        nn.init.normal_(tensor, std=0.3)
    codes = torch.randint(48, (3, 12, 3))
    native = said(prior, codes, begun)
    monkeypatch.setenv("SPEECHVQ_KERNEL", "plain")
    torch.testing.assert_close(native, said(prior, codes, begun), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["", "plain"])
def test_in_mixed_precision_it_writes_the_same(
    kind: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the pictures and sounds that a training in bf16-mixed shows are made."""
    if kernel:
        monkeypatch.setenv("SPEECHVQ_KERNEL", kernel)
    prior = KINDS[kind].eval()
    prefix = Codes(torch.randint(48, (3, 3, 1, *grid_of(prior)[1:])))
    asked = {"condition": told(prior), "prefix": prefix, "count": 3}
    wanted = prior.generate(grid_of(prior), **asked).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.generate(grid_of(prior), **asked).indices, wanted)


def test_it_is_used_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, like = Depth(1, 64, 4, 8), torch.zeros(1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert usable(depth, like)
        assert not usable(depth, like.double())
        assert not usable(depth, like.to("meta"))
        assert not usable(Depth(1, 64, 8, 8), like)
        torch.set_num_threads(FEW + 1)
        assert not usable(depth, like)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setenv("SPEECHVQ_KERNEL", "plain")
    assert not usable(depth, like)
