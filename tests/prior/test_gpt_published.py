"""The GPT prior beside the published code: sizes, and what it says with weights from a hash."""

from dataclasses import replace

import pytest
import torch

from speechvq.bridge.places import fill
from speechvq.bridge.taming_names import prior_places
from speechvq.codec import Codes
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.prior.conditions import Given
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.gpt_settings import SIZES, Reading
from tests.hashfill import values


def hashed(reach: int, layers: int) -> GPTPrior:
    """64 tokens, 4 heads, 32 channels."""
    depth = Depth(layers, width=32, heads=4, reach=reach, positions="learned")
    net = GPTPrior(64, size=depth, given=(Given("codes", 64),), reading=Reading(vocabulary=64))
    places = prior_places(net)
    fill(net, {name: values(name, place.shape) for name, place in places.items()}, places, path="the hash")
    return net.eval()


@pytest.mark.parametrize(
    ("unmasked", "mean", "std", "first", "last"),
    [(0, -0.157832, 0.98887, -0.73469, -0.24013), (16, -0.157646, 0.977319, -2.16137, None)],
)
@torch.no_grad()
def test_logits_are_the_published_ones(
    unmasked: int, mean: float, std: float, first: float, last: float | None
):
    net = hashed(48, 3)
    tokens = (7 * torch.arange(40) % 64)[None]
    logits = net.net(net.enter(tokens), unmasked=unmasked) @ net.leave.weight.T
    assert logits.mean().item() == pytest.approx(mean, abs=1e-5)
    assert logits.std(correction=0).item() == pytest.approx(std, abs=1e-5)
    assert logits[0, 0, 0].item() == pytest.approx(first, abs=1e-4)
    if last is not None:
        assert logits[0, -1, -1].item() == pytest.approx(last, abs=1e-4)


@pytest.mark.parametrize(("grid", "total"), [((16, 16), 6994), ((20, 24), 12682)])
def test_the_likeliest_codes_by_a_sliding_window_are_the_published_ones(grid: tuple[int, int], total: int):
    net, places = hashed(512, 2), torch.arange(grid[0] * grid[1])
    told = ((5 * places + 3) % 64).view(1, 1, *grid)
    assert net.generate(grid, {"codes": told}, Sampling(temperature=0)).indices.sum() == total


def small(vocabulary: int, given: tuple[Given, ...]) -> GPTPrior:
    depth = Depth(layers=2, width=16, heads=2, reach=64, positions="learned")
    net = GPTPrior(7, size=depth, given=given, reading=Reading(vocabulary=vocabulary)).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net


@torch.no_grad()
def test_a_shared_table_has_one_row_for_equal_numbers():
    given = (Given("label", 5, "label"),)
    net = small(9, given)
    assert net.enter.weight.shape == net.leave.weight.shape == (9, 16)
    codes = torch.randint(7, (1, 1, 2, 3))
    nats, row = net.nats(Codes(codes), {"label": torch.tensor([4])}).flatten(), codes.flatten()
    h = net.net(net.enter(torch.cat([torch.tensor([4]), row[:-1]])[None]))[0]
    logits = (h @ net.leave.weight.T)[:, :7]
    assert torch.allclose(nats, -logits.log_softmax(1).gather(1, row[:, None])[:, 0], atol=1e-5)
    assert int(net.generate((4, 4), {"label": torch.tensor([1])}, count=9).indices.max()) <= 6
    # Told nothing, it begins with the first token.
    net = small(7, ())
    first = (net.net(net.enter(torch.tensor([[0]]))) @ net.leave.weight.T).log_softmax(-1)
    assert torch.allclose(net.nats(Codes(codes))[0, 0, 0, 0], -first[0, 0, row[0]], atol=1e-5)


D_RIN, FACES, IMAGENET = SIZES["d-rin"], SIZES["faces-big"], SIZES["c-imagenet-big"]


@pytest.mark.parametrize(
    ("size", "codes", "count"),
    [
        (D_RIN, 1024, 304_932_864),
        (FACES, 1024, 801_798_400),
        (replace(IMAGENET, reach=256), 16384, 1_410_640_896),
        (IMAGENET, 16384, 1_410_642_432),
        (SIZES["coco-scenes"], 8192, 975_876_352),
        (SIZES["openimages-scenes"], 8192, 1_045_638_144),
        (SIZES["coco-stuff"], 1024, 632_957_440),
        (replace(SIZES["c-rin"], reach=256), 1024, 129_352_704),
    ],
)
def test_parameters_are_as_many_as_the_published(size: Depth, codes: int, count: int):
    with torch.device("meta"):
        net = GPTPrior(codes, size=size, reading=Reading(vocabulary=codes))
    assert sum(p.numel() for p in net.parameters()) == count


MILLIONS = {
    "rin": (85, 768), "c-rin": (128, 768), "d-rin-v1": (180, 1024), "d-rin": (307, 1024),
    "imagenet": (307, 1024), "c-imagenet": (307, 1024), "imagenet-edges": (307, 1024),
    "imagenet-sr": (153, 1024), "s-flckr": (307, 1024), "faceshq": (307, 1024), "faces": (355, 1024),
    "faces-big": (801, 1024), "lsun-churches": (307, 1024), "cifar10": (307, 1024),
    "deepfashion": (129, 1024), "coco-stuff": (651, 8192), "c-imagenet-big": (1400, 16384),
}  # fmt: skip


def test_the_paper_rounds_to_the_same_millions():
    for name, (millions, codes) in MILLIONS.items():
        size, width = SIZES[name], SIZES[name].width
        count = size.layers * (12 * width**2 + 13 * width) + (2 * codes + size.reach + 2) * width
        assert count == pytest.approx(millions * 1e6, rel=0.03), name
        assert size.heads == 16
