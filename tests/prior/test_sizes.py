"""The presets: how far they see, how large they are, and pictures in raster order."""

import torch

from speechvq.codec import Codes
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.prior import TransformerPrior, WaveNetPrior
from speechvq.prior.wavenet import SIZES


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_base_wavenet_sees_511_codes_through_256_channels():
    base = SIZES["base"]
    assert base.receptive_field == 511
    assert (base.residual, base.gate, base.skip, base.dropout) == (256, 256, 256, 0.1)
    assert WaveNetPrior(512).net.stack == base
    layer = 2 * 256 * 512 + 512 + (256 + 1) * 512  # dilated, its bias, the two 1x1 in one
    ends = 513 * 256 + 256 + 257 * 256 + 257 * 512  # tokens, the one codebook, the two last layers
    assert parameters(WaveNetPrior(512)) == 16 * layer + ends


def test_the_presets_of_the_transformer():
    for size, (layers, width) in {"tiny": (4, 128), "small": (6, 256), "base": (12, 512)}.items():
        block = 12 * width**2 + 13 * width
        expected = layers * block + 2 * width + 513 * width + 512 * (width + 1)
        assert parameters(TransformerPrior(512, size=size)) == expected


def test_pictures_are_read_row_by_row():
    torch.manual_seed(0)
    net = TransformerPrior(5, num_codebooks=2, size=Depth(layers=1, width=16, heads=2, reach=40)).eval()
    flat = Codes(torch.randint(5, (2, 2, 12)))
    picture = Codes(flat.indices.unflatten(2, (3, 4)))
    assert torch.equal(net.nats(picture).flatten(2), net.nats(flat))
    made = net.generate((3, 4), sampling=Sampling(seed=1)).indices
    assert torch.equal(made.flatten(2), net.generate((12,), sampling=Sampling(seed=1)).indices)
    top = Codes(made[:, :, :1])
    assert torch.equal(net.generate((3, 4), sampling=Sampling(seed=1), prefix=top).indices, made)
