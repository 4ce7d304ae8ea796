"""ViT-VQGAN: sizes and numbers of the public code, what every setting does, pictures of several sizes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting
from speechvq.image.picture_loss import PictureLoss
from speechvq.image.vit import Laplace, ViTDecoder, ViTEncoder
from speechvq.image.vit_blocks import Block, Patches, waves
from speechvq.image.vit_sizes import READINGS, SIZES, Reading, Size, shape_of
from speechvq.quantize import VectorQuantizer

from .. import wavefill
from .vit_published import codec_name, tiny_codec

# Encoder, decoder, codebook, layer into 32 channels, layer out of them, all, those of them that learn.
COUNTS = {
    ("small", "small"): (25_830_912, 25_830_403, 262_144, 16_416, 16_896, 51_956_771, 50_908_195),
    ("base", "base"): (85_963_008, 85_962_243, 262_144, 24_608, 25_344, 172_237_347, 170_664_483),
    ("small", "large"): (25_830_912, 589_171_203, 262_144, 16_416, 42_240, 615_322_915, 613_487_907),
}


def parameters(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def quantizer(codes: int = 8192) -> VectorQuantizer:
    spec = {"by": "gradient"}
    made = Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": {"name": "vit", "dim": 32, "size": "tiny"},
            "quantizer": {
                "name": "vector",
                "codebook_size": codes,
                "learning": spec,
                "start": {"by": "normal"},
                "space": {"dim": 32, "metric": "cosine", "gradient": "vector"},
            },
            "decoder": {"name": "vit", "size": "tiny"},
        }
    ).quantizer
    assert isinstance(made, VectorQuantizer)
    return made


@pytest.mark.parametrize(("encoder", "decoder"), COUNTS)
def test_numbers_of_weights_of_the_public_code(encoder: str, decoder: str):
    with torch.device("meta"):
        into = ViTEncoder(32, size=encoder, reading="enhancing")
        out = ViTDecoder(32, size=decoder, reading="enhancing", laplace=Laplace(0))
        codes = quantizer()
    around = parameters(into.project), parameters(out.project)
    counts = (parameters(into) - around[0], parameters(out) - around[1], parameters(codes), *around)
    learned = sum(p.numel() for part in (into, out, codes) for p in part.parameters() if p.requires_grad)
    assert (*counts, sum(counts), learned) == COUNTS[encoder, decoder]


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_weights_as_the_paper_is_read(name: str):
    size = SIZES[name]
    with torch.device("meta"):
        encoder = ViTEncoder(size=name)
        decoder = ViTDecoder(size=name, laplace=Laplace(0))
    d, hidden, layers = size.width, size.hidden, size.blocks
    # Norms, queries, keys, values, the way out; two layers; all with a bias.
    block = 2 * 2 * d + 3 * d * d + 3 * d + d * d + d + 2 * d * hidden + hidden + d
    last = 2 * d * hidden + hidden + d
    core = layers * block + 2 * d + last + 32 * 32 * d
    assert parameters(encoder) == core + 3 * 64 * d + d
    assert parameters(decoder) == core + 3 * 64 * d + 3


def test_a_picture_of_256_pixels_takes_the_published_bits():
    with torch.device("meta"):
        grid = ViTEncoder().grid((256, 256))
    assert math.prod(grid) * math.log2(quantizer().codebook_size) == 13_312


def figures(x: Tensor) -> list[float]:
    """Sum, sum of squares, the first four elements."""
    x = x.double().flatten()
    return [x.sum().item(), x.square().sum().item(), *x[:4].tolist()]


def close(found: list[float] | float, *wanted: float, tolerance: float = 1e-4) -> None:
    found = found if isinstance(found, list) else [found]
    assert found == pytest.approx(wanted, rel=1e-6, abs=tolerance)


def test_the_tiny_model_gives_the_published_numbers():
    codec, unit = tiny_codec(), wavefill.signal(2, 3, 16, 16)
    encoder, decoder, x = codec.encoder, codec.decoder, 2 * unit - 1
    assert isinstance(encoder, ViTEncoder)
    assert isinstance(decoder, ViTDecoder)
    names = [name for own in codec.state_dict() if (name := codec_name(own)) is not None]
    assert len(names) == len(set(names)) == 59
    assert parameters(codec) == 38_731
    with torch.no_grad():
        inner = encoder.patches(encoder.enter(unit).movedim(1, -1))
        output = codec(Batch(x))
        said = decoder(output.quantized.vectors)
    wanted = 13.9297809001, 1072.1896110607, -0.2204970402, 0.9465617797, -0.4847186088, -1.8244830979
    assert inner.numel() == 1024
    close(figures(inner), *wanted)
    close(figures(output.latents)[:2], 11.2405262547, 2.0272684773)
    close(figures(output.quantized.vectors)[:2], 86.4087339188, 32.0)
    close(sum(loss.item() for loss in output.quantized.losses.values()), 0.1161720660)
    codes = [10, 12, 12, 10, 10, 12, 12, 3, 4, 5, 5, 4, 12, 5, 5, 12]
    assert output.quantized.indices[0].flatten().tolist() == codes
    wanted = -89.3678675623, 141.9982256588, 0.0620673026, 0.0576585818, 0.0525047772, 0.0466573839
    close(figures(said), *wanted)
    made = output.reconstruction.signal
    assert made is not None
    assert torch.equal(made, 2 * said - 1)


@pytest.mark.parametrize("name", READINGS)
def test_a_block_is_what_is_written(name: str):
    """Head by head and patch by patch."""
    shape = shape_of(Size(1, 2, 8, 12), name, patch=4, side=12)
    block, x = Block(shape).double(), torch.randn(1, 9, 8, dtype=torch.float64)
    d = shape.reading.channels(shape.size)
    assert d == (64 if name == "enhancing" else 4)
    looks, seen = block.look(block.before(x[0])), torch.zeros(9, 2 * d, dtype=torch.float64)
    for head in range(2):
        q, k, v = (looks[:, (part * 2 + head) * d :][:, :d] for part in range(3))
        for n in range(9):
            scores = torch.stack([q[n] @ k[m] / d**0.5 for m in range(9)]).exp()
            seen[n, head * d : (head + 1) * d] = sum(scores[m] * v[m] for m in range(9)) / scores.sum()
    h = x[0] + block.bring(seen)
    bend = torch.tanh if name == "enhancing" else nn.GELU()
    wanted = h + block.narrow(bend(block.widen(block.between(h))))
    assert torch.allclose(block(x)[0], wanted, atol=1e-12)
    assert (block.look.bias is None) == (name == "enhancing")


def test_fixed_positions_tell_column_then_row():
    found = waves(3, 16)
    for row in range(3):
        for column in range(3):
            for half, place in enumerate((column, row)):
                angles = torch.tensor([place / 10_000 ** (i / 4) for i in range(4)], dtype=torch.float64)
                wanted = torch.cat([angles.sin(), angles.cos()]).float()
                assert torch.allclose(found[row, column, 8 * half : 8 * half + 8], wanted, atol=1e-7)
    shape = shape_of("tiny", "enhancing", patch=8, side=24)
    assert not Patches(shape).places.requires_grad
    assert Patches(shape_of("tiny", "paper", patch=8, side=24)).places.requires_grad


def small(reading: str = "paper", **decoder: Any) -> Codec:
    """Pictures up to 24 pixels a side, patches of 4."""
    both = {"name": "vit", "size": Size(2, 2, 16, 32), "reading": reading, "side": 24}
    loss = PictureLoss(error="squared", pixels=0.25, features=0.0)
    quantizer = {
        "name": "vector",
        "codebook_size": 32,
        "space": {"dim": 4, "metric": "cosine", "gradient": "vector"},
        "learning": {"by": "gradient"},
        "start": {"by": "normal"},
    }
    parts = {"encoder": both | {"patch": 4}, "decoder": both | {"loss": loss} | decoder}
    return Codec.build({"room": "image", "rate": 1, "quantizer": quantizer} | parts)


@pytest.mark.parametrize("reading", READINGS)
def test_everything_that_should_learn_learns(reading: str):
    codec = small(reading)
    codec(Batch(torch.rand(2, 3, 24, 24) * 2 - 1)).loss.backward()
    still = {name for name, p in codec.named_parameters() if p.grad is None}
    fixed = {"encoder.patches.places", "decoder.patches.places"}
    assert still == (fixed if reading == "enhancing" else set())


def test_a_smaller_picture_has_the_positions_of_the_upper_left_corner():
    codec, x = small(), torch.rand(2, 3, 12, 17) * 2 - 1
    encoder = codec.encoder
    assert isinstance(encoder, ViTEncoder)
    with torch.no_grad():
        found = encoder(x)
        entered = encoder.enter(x).movedim(1, -1)
        places = torch.stack([encoder.patches.places[0, 6 * i + j] for i in range(3) for j in range(4)])
        encoder.patches.places.data[:] = 0
        by_hand = encoder.patches(entered + places.view(3, 4, -1)).movedim(-1, 1)
    assert found.shape == (2, 16, 3, 4)
    assert torch.allclose(found, by_hand, atol=1e-6)


def test_sizes_that_do_not_go_are_sentences():
    codec = small().eval()
    with pytest.raises(BadSetting, match="7 x 6 patches is larger than the 6 a side"):
        codec.encode(torch.zeros(1, 3, 28, 24))
    with pytest.raises(BadSetting, match="3 x 24 pixels is too small"):
        codec.encode(torch.zeros(1, 3, 3, 24))
    with pytest.raises(BadSetting, match="no option speaker"):
        codec.decode(codec.encode(torch.zeros(1, 3, 24, 24)), speaker="ann")


def test_a_padded_picture_is_as_if_alone():
    codec, pictures = small().eval(), torch.rand(3, 3, 20, 24) * 2 - 1
    mask = torch.zeros(3, 20, 24, dtype=torch.bool)
    mask[0], mask[1, :17, :9], mask[2, :8, :11] = True, True, True
    codes, alone = codec.encode(pictures, mask), codec.encode(pictures[1:2, :, :17, :9])
    assert torch.equal(codes.indices[0], codec.encode(pictures[:1]).indices[0])
    assert torch.equal(codes.indices[1, :, :4, :2], alone.indices[0])
    assert [(row >= 0).sum().item() for row in codes.indices] == [30, 8, 4]
    made = codec.decode(codes)
    assert torch.allclose(made[1, :, :16, :8], codec.decode(alone)[0], atol=1e-6)
    assert not made[1, :, 16:].any()
    assert not made[1, :, :, 8:].any()
    noise = torch.where(mask[:, None], pictures, torch.rand_like(pictures))
    losses = [codec(Batch(x, mask)).loss.item() for x in (pictures, noise)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("reading", READINGS)
def test_the_losses_are_what_is_written(reading: str, scale: float | None):
    decoder = small(reading, laplace=Laplace(0.3, scale, least=0.05)).decoder
    assert isinstance(decoder, ViTDecoder)
    vectors, x = torch.randn(2, 16, 3, 5), torch.rand(2, 3, 12, 20, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        said, found = decoder(vectors).double(), decoder.reconstruct(vectors, Batch(x.float()))
    assert said.shape[1] == (6 if scale is None else 3)
    mean = said[:, :3]
    b = said[:, 3:].exp() + 0.05 if scale is None else torch.tensor(scale)
    p = 0.1 + 0.8 * (x + 1) / 2
    nats = (2 * b * p * (1 - p)).log() + (p.log() - (1 - p).log() - mean).abs() / b
    assert found.losses["picture/laplace"].item() == pytest.approx(0.3 * nats.mean().item(), rel=1e-4)
    made = 2 * ((mean.sigmoid() - 0.1) / 0.8) - 1
    assert found.signal is not None
    assert torch.allclose(found.signal.double(), made, atol=1e-5)
    # The squared error of pixels in [0, 1].
    wanted = ((made - x) / 2).square().mean().item()
    assert found.losses["picture/mse"].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("reading", "grey"), [("paper", 0.0), ("enhancing", -1.0)])
def test_without_the_likelihood_the_decoder_says_the_picture(reading: str, grey: float):
    decoder = small(reading, laplace=Laplace(0)).decoder
    assert isinstance(decoder, ViTDecoder)
    nn.init.zeros_(decoder.leave.weight)
    said = decoder.reconstruct(torch.randn(1, 16, 2, 2), Batch(torch.zeros(1, 3, 8, 8)))
    assert list(said.losses) == ["picture/mse"]
    assert said.signal is not None
    assert (said.signal == grey).all()


def test_decoding_codes_is_what_training_made(tmp_path: Path):
    codec, picture = small().eval(), torch.rand(2, 3, 24, 20) * 2 - 1
    with torch.no_grad():
        made = codec(Batch(picture)).reconstruction.signal
    assert made is not None
    codes = codec.encode(picture)
    assert torch.equal(codec.decode(codes), made.clamp(-1, 1))
    codec.save_pretrained(tmp_path / "codec")
    again = Codec.from_pretrained(tmp_path / "codec")
    assert torch.equal(again.decode(again.encode(picture)), codec.decode(codes))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ViTEncoder(size="huge"), "no size 'huge' of the ViT-VQGAN; known: tiny, small, base, large"),
        (lambda: ViTEncoder(reading="mine"), "no reading 'mine' of the ViT-VQGAN; known: paper, enhancing"),
        (
            lambda: ViTEncoder(size="tiny", patch=6, side=64),
            "64 pixels a side do not divide into patches of 6",
        ),
        (lambda: ViTEncoder(size=Size(1, 3, 8, 8)), "8 channels do not divide into 3 heads"),
        (lambda: Size(blocks=0), "must be at least 1"),
        (lambda: Size(width=30), "30; it must be a multiple of 4"),
        (lambda: Reading(range="bytes"), "the range 'signed' or 'unit', not 'bytes'"),
        (lambda: Reading(head=0), "a head has 0 channels"),
        (lambda: Laplace(weight=-1), "must be at least 0"),
        (lambda: Laplace(scale=0), "must be above 0"),
        (lambda: ViTDecoder(size="tiny", loss=PictureLoss(kind="segmentation")), "not a 'segmentation'"),
    ],
)
def test_bad_settings_are_sentences(make: Any, sentence: str):
    with pytest.raises(BadSetting, match=sentence):
        make()
