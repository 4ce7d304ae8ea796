"""The VQ-VAE of pictures: published sizes, sides that the hop does not divide, bits per dimension."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from speechvq.codec import DECODERS, ENCODERS, Batch, Codec
from speechvq.errors import SpeechVQError
from speechvq.image.bits import bits_per_dim
from speechvq.image.conv import ConvDecoder, ConvEncoder, Shape
from speechvq.quantize import VectorQuantizer


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(channels: int = 1, likelihood: str = "gaussian", codes: int = 16) -> Codec:
    encoder = ConvEncoder(8, colours=channels, size="tiny")
    decoder = ConvDecoder(8, colours=channels, size="tiny", likelihood=likelihood)
    return Codec(encoder, VectorQuantizer(8, codes), decoder, room="image", rate=1)


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape) / 127.5 - 1


def test_parameters_of_sonnets_example():
    with torch.device("meta"):
        encoder, decoder = ConvEncoder(64), ConvDecoder(64)
        plain = Shape(residual_bias=False)
        without = (ConvEncoder(64, size=plain).layers, ConvDecoder(64, size=plain).layers)
    assert parameters(encoder.layers[-1]) == 8_256
    assert parameters(encoder.layers[:-1]) == 364_160
    assert parameters(decoder.layers) == 290_307
    assert sum(map(parameters, without)) == 662_083
    assert parameters(VectorQuantizer(64, 512)) == 0  # moving averages
    assert VectorQuantizer(64, 512).codebook.vectors.numel() == 32_768


def test_parameters_of_the_papers_models():
    with torch.device("meta"):
        encoder, decoder = ConvEncoder(256, size="cifar10"), ConvDecoder(256, size="cifar10")
        large = ConvEncoder(64, size="imagenet128"), ConvDecoder(64, size="imagenet128")
    assert parameters(encoder) == 2_373_120
    assert parameters(decoder.layers) == 2_372_867
    assert encoder.grid((32, 32)) == (8, 8)
    assert sum(parameters(part.layers) for part in large) == 662_723
    assert large[0].grid((128, 128)) == (32, 32)
    assert large[0].grid((84, 84)) == (21, 21)


def test_parameters_of_the_variant_with_batch_normalisation():
    shape = Shape(hidden=256, outer=256, residual=256, middle=False, batch_norm=True)
    with torch.device("meta"):
        parts = ConvEncoder(256, size=shape), ConvDecoder(256, size=shape)
    assert sum(parameters(part.layers) for part in parts) + 512 * 256 == 4_882_179


@pytest.mark.parametrize("shape", ["sonnet", "cifar10", "tiny"])
@pytest.mark.parametrize("hop", [2, 4, 8])
def test_sizes(shape: str, hop: int):
    with torch.device("meta"):
        encoder, decoder = ConvEncoder(6, hop=hop, size=shape), ConvDecoder(6, hop=hop, size=shape)
        for size in ((32, 32), (16, 48), (hop, 29)):
            vectors = encoder(torch.zeros(2, 3, *size))
            assert vectors.shape == (2, 6, *encoder.grid(size))
            assert decoder(vectors, size).shape == (2, 3, *size)


@pytest.mark.parametrize("shape", [Shape(8, 4, 4, 2), Shape(8, 8, 8, 1, middle=False)])
def test_a_vector_sees_its_receptive_field_and_no_more(shape: Shape):
    encoder = ConvEncoder(4, colours=1, size=shape).double()
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.uniform_(0.01, 0.1)  # so that nothing cancels and every ReLU is open
    picture = torch.rand(1, 1, 96, 96, dtype=torch.float64).requires_grad_()
    encoder(picture)[0, :, 12, 12].sum().backward()
    assert picture.grad is not None
    for axis in (2, 3):
        seen = picture.grad.movedim(axis, 0).flatten(1).any(1).nonzero()[:, 0]
        assert seen[-1] - seen[0] + 1 == encoder.receptive_field


def test_standardised_vectors_have_unit_variance_and_no_more_parameters():
    picture = pictures(8, 1, 16, 16)
    plain, even = (ConvEncoder(8, colours=1, size="tiny", standardise=s) for s in (False, True))
    even.layers.load_state_dict(plain.layers.state_dict())
    vectors = even(picture)
    assert torch.allclose(vectors.mean((0, 2, 3)), torch.zeros(8), atol=1e-5)
    assert parameters(plain) == parameters(even)
    twin = plain(picture)
    scale, shift = twin.var((0, 2, 3), unbiased=False), twin.mean((0, 2, 3))
    by_hand = (twin - shift[:, None, None]) / (scale[:, None, None] + 1e-5).sqrt()
    assert torch.allclose(vectors, by_hand, atol=1e-4)


def test_what_is_masked_is_not_in_the_statistics_of_standardised_vectors():
    encoder = ConvEncoder(8, colours=1, size="tiny", standardise=True)
    picture, mask = pictures(2, 1, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool)
    mask[1, 8:] = False
    vectors = encoder(picture, mask)
    valid = vectors.movedim(1, 3)[encoder.code_mask(mask)]
    assert torch.allclose(valid.mean(0), torch.zeros(8), atol=1e-5)
    twin = encoder.layers(torch.where(mask[:, None], picture, 0)).movedim(1, 3)[encoder.code_mask(mask)]
    by_hand = (twin - twin.mean(0)) / (twin.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(valid, by_hand, atol=1e-4)
    encoder.eval()
    assert torch.allclose(encoder(picture, mask)[0], encoder(picture)[0], atol=1e-5)


def test_sides_that_the_hop_does_not_divide_are_continued_and_cut_off_again():
    codec, picture = small().eval(), pictures(2, 1, 30, 27)
    by_hand = torch.cat([picture, picture[..., -1:, :], picture[..., -1:, :]], 2)
    by_hand = torch.cat([by_hand, by_hand[..., -1:]], 3)
    codes = codec.encode(picture)
    assert codes.indices.shape == (2, 1, 8, 7)
    assert torch.equal(codes.indices, codec.encode(by_hand).indices)
    made = codec.decode(codes, size=(30, 27))
    assert torch.equal(made, codec.decode(codes)[..., :30, :27])
    # What is continued costs nothing: other rows and columns there leave the loss as it is.
    vectors = codec.quantizer.decode(codes.indices)
    loss = codec.decoder.reconstruct(vectors, Batch(picture)).losses["picture/nll"]
    output = codec.decoder.layers(vectors)[..., :30, :27]
    assert torch.allclose(loss, codec.decoder.likelihood.nats(output, picture).mean())
    with pytest.raises(SpeechVQError, match="cannot be cut to 33 x 28"):
        codec.decode(codes, size=(33, 28))


def test_masked_pixels_touch_neither_loss_nor_codes():
    codec = small().train()
    picture, mask = pictures(2, 1, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool)
    mask[1, 12:] = False
    mask[1, :, 10:] = False
    assert codec.encoder.code_mask(mask)[1].tolist() == [[True] * 3 + [False]] * 3 + [[False] * 4]
    output = codec(Batch(picture, mask))
    hidden = torch.where(mask[:, None], picture, torch.nan)
    again = codec.decoder.reconstruct(output.quantized.vectors, Batch(hidden.nan_to_num(0.3), mask))
    assert torch.equal(again.losses["picture/nll"], output.losses["picture/nll"])
    assert torch.equal(codec.encode(hidden, mask).indices, codec.encode(picture, mask).indices)
    made = codec.decode(codec.encode(picture, mask))
    assert not made[1, :, 12:].any()
    assert made[1, :, :12, :12].any()


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("likelihood", ["gaussian", "nmse", "logistics", "categorical"])
def test_every_likelihood_trains_and_is_saved(channels: int, likelihood: str, tmp_path: Path):
    spec = {"name": likelihood} | ({"variance": 0.25} if likelihood == "nmse" else {})
    encoder = ENCODERS.build({"name": "vqvae", "dim": 8, "colours": channels, "size": "tiny"})
    decoder = DECODERS.build(
        {"name": "vqvae", "dim": 8, "colours": channels, "size": "tiny", "likelihood": spec}
    )
    codec = Codec(encoder, VectorQuantizer(8, 16), decoder, room="image", rate=1)
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    batch, losses = Batch(pictures(2, channels, 8, 8)), []
    for _ in range(12):
        output = codec(batch)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses += [v.item() for k, v in output.losses.items() if k.startswith("picture/")]
    assert losses[-1] < losses[0]
    assert output.reconstruction.signal is not None
    assert output.reconstruction.signal.shape == batch.signal.shape
    codec.eval()
    twin = DECODERS.build(decoder.spec)
    twin.load_state_dict(decoder.state_dict())
    vectors = codec.quantizer.decode(codec.encode(batch.signal).indices)
    assert torch.equal(twin.generate(vectors), decoder.generate(vectors))


def test_a_picture_is_drawn_from_its_likelihood_by_seed():
    codec = small(3, "logistics").eval()
    codes = codec.encode(pictures(2, 3, 8, 8))
    one, same, other = (codec.decode(codes, draw=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    levels = (one + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-3
    with pytest.raises(SpeechVQError, match="it knows size, draw, seed"):
        codec.decode(codes, speaker="slt")


def test_bits_per_dimension_are_those_of_codes_and_picture_together():
    codec = small(3, "categorical", codes=32).eval()
    with torch.no_grad():  # a decoder that knows nothing says 8 bits a value
        codec.decoder.layers[-1].weight.zero_()
        codec.decoder.layers[-1].bias.zero_()
    picture = pictures(2, 3, 8, 8)
    bits = bits_per_dim(codec, picture)
    assert bits.tolist() == pytest.approx([8 + 4 * 5 / (3 * 64)] * 2)
    cheap = bits_per_dim(codec, picture, code_nats=lambda codes: torch.full(codes.indices.shape, 0.5))
    assert cheap.tolist() == pytest.approx([8 + 4 * 0.5 / math.log(2) / (3 * 64)] * 2)


def test_bits_per_dimension_bound_the_marginal_of_every_code():
    """One code a picture: log p(x) is a sum over 16 codes, and the bound holds one of its terms."""
    codec = small(1, "gaussian").eval()
    picture = pictures(5, 1, 4, 4)
    every = codec.quantizer.decode(torch.arange(16).view(16, 1, 1, 1))
    with torch.no_grad():
        terms = torch.stack([codec.decoder.nats(every, x.expand(16, -1, -1, -1)) for x in picture])
    exact = -(-terms - math.log(16)).logsumexp(1) / (16 * math.log(2))
    bound = bits_per_dim(codec, picture)
    assert (bound > exact).all()
    chosen = terms.gather(1, codec.encode(picture).indices.view(5, 1))[:, 0]
    assert torch.allclose(bound, (chosen + math.log(16)) / (16 * math.log(2)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": "huge"}, "no size 'huge' of the VQ-VAE; known: tiny"),
        ({"hop": 3}, "cannot stand for 3 pixels"),
        ({"size": {"hidden": 0}}, "at least 1"),
        ({"likelihood": "poisson"}, "no likelihood called 'poisson'; known: categorical, gaussian"),
        ({"likelihood": {"name": "nmse", "variance": 0}}, "variance of the data is 0"),
        ({"likelihood": {"name": "gaussian", "scale": -1.0}}, "scale is -1.0"),
        ({"likelihood": {"name": "logistics", "mixtures": 0}}, "0 logistics is none"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, object], sentence: str):
    with pytest.raises(SpeechVQError, match=sentence):
        DECODERS.build({"name": "vqvae", **settings})


def test_a_picture_with_other_channels_is_refused():
    with pytest.raises(SpeechVQError, match=r"takes pictures \(B, 3, height, width\), not \(1, 1, 8, 8\)"):
        ConvEncoder()(torch.zeros(1, 1, 8, 8))
