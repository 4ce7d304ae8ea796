"""The residual prior beside the published code: sizes, and what it says with weights from a formula."""

import math
import zlib

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import SIZES, Sizes, Told

COUNTS = [
    ("ffhq", 2048, 0, 355_393_536),
    ("lsun-church", 16384, 0, 370_087_936),
    ("lsun-bedroom", 16384, 0, 612_061_184),
    ("imagenet-480m", 16384, 1000, 480_921_088),
    ("imagenet-821m", 16384, 1000, 820_899_328),
    ("imagenet-1.4b", 16384, 1000, 1_387_529_728),
    ("imagenet-3.8b", 16384, 1000, 3_822_488_064),
]


def count(net: ResidualPrior) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("size", "codes", "classes", "expected"), COUNTS)
def test_parameters_are_as_many_as_the_published(size: str, codes: int, classes: int, expected: int):
    with torch.device("meta"):
        labels = tuple(map(str, range(classes)))
        net = ResidualPrior(codes, num_codebooks=4, grid=(8, 8), size=size, channels=256, labels=labels)
    assert count(net) == expected


def test_and_so_with_captions_and_in_a_vqgans_place():
    with torch.device("meta"):
        told = Told(words=16384, length=32)
        net = ResidualPrior(16384, num_codebooks=4, grid=(8, 8), size="cc3m", channels=256, told=told)
        assert count(net) == 654_061_568
        labels = tuple(map(str, range(1000)))
        net = ResidualPrior(16384, grid=(16, 16), size="vqgan-1.4b", channels=256, labels=labels)
        assert count(net) == 1_387_820_032


def test_the_paper_sees_no_dropout_in_positions_and_one_in_ten_elsewhere():
    ours = {"tiny", "small", "base"}
    assert all(
        size.dropout == 0.1 and size.classifiers == "one" for n, size in SIZES.items() if n not in ours
    )


def waves(name: str, shape: tuple[int, ...]) -> Tensor:
    """w[i] = sin(0.1 (i + 1) + 2 pi (crc32(name) mod 1000) / 1000), and what becomes of it."""
    shift = 2 * math.pi * (zlib.crc32(name.encode()) % 1000) / 1000
    w = torch.sin(0.1 * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64) + shift).view(shape)
    if len(shape) > 1:
        return (w if "codebook" in name else 0.08 * w).float()
    return (1 + 0.1 * w if name.endswith("weight") else 0.05 * w).float()


@torch.no_grad()
def published() -> ResidualPrior:
    """2 x 2 x 3 codes of 16, 8 channels; 32 channels, 4 heads, 2 blocks and 1, 5 classes."""
    size = Sizes(places=2, depths=1, width=32, heads=4)
    net = ResidualPrior(16, num_codebooks=3, grid=(2, 2), size=size, channels=8, labels=tuple("abcde")).eval()
    net.take(waves("quantizer.codebooks.0.weight", (17, 8))[:16])
    for ours, theirs in (("at_begin", "cond"), ("at_place", "hw"), ("at_depth", "d")):
        table = getattr(net.net, ours)
        table.copy_(waves(f"pos_emb_{theirs}", (1, *table.shape))[0])
    net.label.table.weight.copy_(waves("cond_emb.weight", (5, 32)))
    layers = {"input_mlp": net.net.enter, "head_mlp": net.net.descend}
    layers |= {"classifier.layer_norm": net.last, "classifier.linear": net.leave}
    for where, blocks in (("body", net.net.places), ("head", net.net.depths)):
        for i, block in enumerate(blocks):
            name = f"{where}_transformer.blocks.{i}"
            layers |= {f"{name}.ln1": block.before, f"{name}.ln2": block.between}
            layers |= {f"{name}.attn.proj": block.bring}
            layers |= {f"{name}.mlp.0": block.widen, f"{name}.mlp.2": block.narrow}
            for part, their in enumerate(("query", "key", "value")):
                rows = slice(32 * part, 32 * part + 32)
                block.look.weight[rows] = waves(f"{name}.attn.{their}.weight", (32, 32))
                block.look.bias[rows] = waves(f"{name}.attn.{their}.bias", (32,))
    for name, layer in layers.items():
        for kind in ("weight", "bias"):
            own = getattr(layer, kind)
            own.copy_(waves(f"{name}.{kind}", tuple(own.shape)))
    return net


CODES = (7 * torch.arange(24) % 16).view(2, 2, 2, 3).movedim(3, 1)
ASKED = {"label": torch.tensor([1, 4])}


@torch.no_grad()
def test_logits_are_the_published_ones():
    net = published()
    assert count(net) == 39_696
    logits = net.logits(Codes(CODES), ASKED).movedim(1, 3)
    assert logits.shape == (2, 2, 2, 3, 16)
    row = logits.double().flatten()
    assert row.sum().item() == pytest.approx(17.7182975554, abs=1e-4)
    assert row.square().sum().item() == pytest.approx(97.7239218950, abs=1e-4)
    first = [-0.1104272993, 0.1343624284, -0.0598082834, 0.0999183281]
    assert row[:4].tolist() == pytest.approx(first, abs=1e-4)
    assert row[-1].item() == pytest.approx(0.1048599297, abs=1e-4)
    assert net.loss(Codes(CODES), ASKED).item() == pytest.approx(2.8411435154, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("harm", ["bias", "position", "depth", "query"])
def test_and_no_longer_if_something_is_changed(harm: str):
    net = published()
    if harm == "bias":
        net.net.enter.bias /= 3
    elif harm == "position":
        net.net.at_place.copy_(net.net.at_place.roll(1, 0))
    elif harm == "depth":
        net.net.at_depth.copy_(net.net.at_depth.flip(0))
    else:
        look = net.net.places[0].look.weight
        look.copy_(torch.cat([look[32:64], look[:32], look[64:]]))
    changed = net.logits(Codes(CODES), ASKED).double()
    assert abs(changed.square().sum().item() - 97.7239218950) > 1e-3
