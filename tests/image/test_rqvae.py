"""RQ-VAE against the published code: sizes, and numbers that its networks give with weights of waves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.bridge.rqvae_names import EMBED, codec_name
from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.image.folding import fold, unfold
from speechvq.image.residual_variants import RESIDUAL_VARIANTS, residual_variant
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder
from speechvq.image.widths import SIZES, Widths, widths_of
from speechvq.nets.patch_critic import PatchCritic
from speechvq.quantize import ResidualQuantizer
from speechvq.quantize.soft import soft_labels

from .. import wavefill

COUNTS = {"imagenet-rqvae": (104_402_051, 41_101_312, 58_974_595), "ffhq-rqvae": (100_732_035, None, None)}


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def filled(config: dict[str, Any]) -> Codec:
    """A codec whose tensors hold the waves of their published names."""
    codec = Codec.build(config)
    state = codec.state_dict()
    # Theirs has a row of padding behind the codes, which is part of the wave's tensor.
    vectors = state.pop("quantizer.codebooks.0.vectors")
    wavefill.fill(state, codec_name)
    rows, dim = vectors.shape
    vectors.copy_(wavefill.values(EMBED, (rows + 1, dim))[:-1])
    return codec.eval()


def tiny() -> Codec:
    """The sheet's: 16 pixels, 8 x 8 stacks of 3 of 16 codes."""
    widths = Widths(32, (1, 2), 1, (8,), 16, latent=8)
    config = RESIDUAL_VARIANTS["imagenet-rqvae"].config(perceptual={"network": "none"}, start="normal")
    config["quantizer"] |= {"codebook_size": 16, "num_codebooks": 3}
    for part in ("encoder", "decoder"):
        config[part]["size"] = widths
    return filled(config)


def figures(x: Tensor) -> list[float]:
    """Sum, sum of squares, the first four and the last element."""
    x = x.double().flatten()
    return [x.sum().item(), x.square().sum().item(), *x[:4].tolist(), x[-1].item()]


def close(found: list[float], *wanted: float) -> None:
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("name", COUNTS)
def test_published_variants_have_the_published_number_of_weights(name: str) -> None:
    total, encoder, decoder = COUNTS[name]
    with torch.device("meta"):
        codec = Codec.build(RESIDUAL_VARIANTS[name].config())
    assert isinstance(codec.encoder, VQGANEncoder)
    assert isinstance(codec.decoder, VQGANDecoder)
    assert isinstance(codec.quantizer, ResidualQuantizer)
    assert codec.encoder.hop == 32
    assert parameters(codec.encoder.project) == parameters(codec.decoder.project) == 65_792
    if encoder:
        assert parameters(codec.encoder) - 65_792 == encoder
        assert parameters(codec.decoder) - 65_792 == decoder
        assert parameters(codec) == 100_207_491
    # The published count has the codebook in it, once, and its row of zeros for padding; ours is a buffer.
    (book,) = codec.quantizer.codebooks
    codes = (codec.quantizer.codebook_size + 1) * 256
    assert book.vectors.numel() + 256 == codes
    assert parameters(codec) + codes == total


def test_every_variant_is_four_deep_and_shares_one_codebook() -> None:
    for name, variant in RESIDUAL_VARIANTS.items():
        spec = variant.config()["quantizer"]
        assert (spec["shared"], spec["num_codebooks"]) == (True, 4)
        assert spec["codebook_size"] == (2048 if name == "ffhq-rqvae" else 16384)
        assert variant.schedule.lr == 4e-5
    bits = 8 * 8 * 4 * 14
    assert bits == 3584
    assert bits / 256**2 == pytest.approx(0.0547, abs=1e-4)
    assert widths_of("f8-rq").per_level == [128, 256, 256, 512]
    with torch.device("meta"):
        critic = PatchCritic(IMAGENET_GAME.layers)
    assert parameters(critic) == 663_361


IMAGENET_GAME = residual_variant("imagenet-rqvae").game


@torch.no_grad()
def test_the_tiny_model_gives_the_published_numbers() -> None:
    codec = tiny()
    quantizer, decoder = codec.quantizer, codec.decoder
    assert isinstance(quantizer, ResidualQuantizer)
    assert isinstance(decoder, VQGANDecoder)
    assert parameters(codec) + (16 + 1) * 8 == 711_171
    z = codec.encoder(wavefill.signal(2, 3, 16, 16))
    close(figures(z.movedim(1, -1)), 37.9084236179, 14.7246483459,
          0.0744413842, 0.0700174455, 0.0499647251, 0.0250139436, 0.0820369236)  # fmt: skip
    said = quantizer(z)
    wanted = [250.6679618999, 110.0574782960, 0.5636466789]
    assert figures(said.vectors.movedim(1, -1))[:3] == pytest.approx(wanted, abs=1e-4)
    assert said.losses["commitment"].item() == pytest.approx(0.25 * 0.0775619769, abs=1e-6)
    assert said.indices[0, :, 0].T.tolist() == [[12, 8, 12]] * 8
    assert said.indices.sum() == 2850
    made = decoder(said.vectors)
    close(figures(made), -16.4958437417, 383.4098967927,
          -0.1674048107, -0.2445364414, -0.2483184935, -0.2388923459, 0.0033206994)  # fmt: skip
    assert torch.equal(decoder(quantizer.decode(said.indices)), made)
    soft = soft_labels(quantizer, z, temperature=0.5).probabilities
    rows = soft.movedim(1, -2).double().flatten()
    assert rows.square().sum().item() == pytest.approx(118.4550072884, abs=1e-4)
    close(rows[:4].tolist(), 0.0193712321, 0.2444726221, 1.86811e-05, 7.5612e-06)


def test_squares_of_latents_fold_row_by_row() -> None:
    x = torch.randn(2, 3, 6, 8)
    folded = fold(x, 2)
    assert folded.shape == (2, 12, 3, 4)
    for b, h, w in [(0, 0, 0), (1, 2, 1), (0, 1, 3)]:
        square = [x[b, :, 2 * h + i, 2 * w + j] for i in (0, 1) for j in (0, 1)]
        assert torch.equal(folded[b, :, h, w], torch.cat(square))
    assert torch.equal(unfold(folded, 2), x)
    assert torch.equal(fold(x[:, :, :5, :7], 2), fold(x[:, :, :4, :6], 2))
    assert fold(x, 1) is x


def folded_codec(side: int) -> Codec:
    config = RESIDUAL_VARIANTS["imagenet-rqvae"].config(perceptual={"network": "none"}, start="normal")
    config["quantizer"] |= {"codebook_size": 8}
    widths = Widths(32, (1, 1), 1, (), 16, latent=32)
    config["encoder"] |= {"size": widths, "fold": side, "dim": 4 * side**2}
    config["decoder"] |= {"size": widths, "fold": side}
    return Codec.build(config).eval()


def test_codes_coarser_than_latents() -> None:
    codec, plain = folded_codec(2), folded_codec(1)
    assert codec.encoder.hop == codec.decoder.hop == 4
    state = {k: v for k, v in codec.state_dict().items() if not k.startswith("quantizer")}
    plain.load_state_dict(state, strict=False)
    picture = torch.rand(2, 3, 24, 16) * 2 - 1
    assert codec.encode(picture).indices.shape == (2, 4, 6, 4)
    with torch.no_grad():
        vectors = codec.encoder(picture)
        assert torch.equal(vectors, fold(plain.encoder(picture), 2))
        assert torch.equal(codec.decoder.generate(vectors), plain.decoder.generate(unfold(vectors, 2)))
    mask = torch.zeros(2, 24, 16, dtype=torch.bool)
    mask[0], mask[1, :14, :9] = True, True
    codes = codec.encode(picture, mask)
    assert torch.equal(codes.indices[1, :, :3, :2], codec.encode(picture[1:, :, :14, :9]).indices[0])
    assert (codes.indices[1] >= 0).sum() == 4 * 3 * 2
    codec.train()(Batch(picture, mask)).loss.backward()
    assert codec.encoder.enter.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: residual_variant("imagenet"), "no published RQ-VAE called 'imagenet'; known: cc3m-"),
        (lambda: VQGANEncoder(6, size=SIZES["tiny"], fold=2), "6 channels cannot hold 2 x 2 latents"),
        (lambda: VQGANDecoder(6, size=SIZES["tiny"], fold=0), "cannot hold 0 x 0 latents"),
    ],
)
def test_bad_settings_are_sentences(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises((BadSetting, UnknownName), match=sentence):
        make()
