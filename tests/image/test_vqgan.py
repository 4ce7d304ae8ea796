"""VQGAN against the published code: sizes, and numbers that its networks give with hash-filled weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.image.picture_loss import PictureLoss
from speechvq.image.variants import VARIANTS, variant
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder
from speechvq.image.widths import SIZES, Widths, widths_of
from speechvq.losses.adaptive import adaptive_weight
from speechvq.losses.adversarial import critic_loss, maker_loss
from speechvq.losses.perceptual import Perceptual
from speechvq.nets.patch_critic import PatchCritic
from speechvq.quantize import GumbelQuantizer, VectorQuantizer

from ..hashfill import fill, values
from .published import codec_name, write_lpips

TOTALS = {
    "imagenet-f16-1024": (72_141_699, 29_298_176, 42_449_795, 262_144, 343),
    "coco-f16-8192": (73_976_707, 29_298_176, 42_449_795, 2_097_152, 343),
    "imagenet-f16-16384": (76_073_859, 29_298_176, 42_449_795, 4_194_304, 343),
    "imagenet-depth-f16": (72_137_089, 29_295_872, 42_447_489, 262_144, 343),
    "coco-segmentation-f16": (72_556_599, 29_505_536, 42_657_335, 262_144, 343),
    "sflckr-segmentation-f16": (72_554_294, 29_504_384, 42_656_182, 262_144, 343),
    "ade-segmentation-f16": (72_482_839, 29_468_672, 42_620_439, 262_144, 343),
    "openimages-f8-gumbel": (68_995_971, 26_345_728, 38_316_163, 4_202_496, 301),
}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def close(found: Tensor, *wanted: float, tolerance: float = 1e-4) -> None:
    assert found.flatten().tolist() == pytest.approx(wanted, abs=tolerance)


def small(
    multipliers: Sequence[int] = (1, 1, 2, 2, 4), attention: int = 4, *, quantizer: Any = None, **loss: Any
) -> Codec:
    """The sheet's small model, filled."""
    widths = Widths(32, tuple(multipliers), 2, (attention,), 64, latent=64)
    if quantizer is None:
        quantizer = VARIANTS["imagenet-f16-1024"].config()["quantizer"] | {"codebook_size": 128}
    perceptual = loss.pop("perceptual", {"network": "none"})
    codec = Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": {"name": "vqgan", "size": widths},
            "quantizer": quantizer,
            "decoder": {"name": "vqgan", "size": widths, "loss": {"perceptual": perceptual} | loss},
        }
    )
    fill(codec, codec_name)
    return codec.eval()


@pytest.mark.parametrize("name", TOTALS)
def test_published_variants_have_the_published_number_of_weights(name: str):
    with torch.device("meta"):
        codec = Codec.build(VARIANTS[name].config())
    encoder, quantizer, decoder = codec.encoder, codec.quantizer, codec.decoder
    assert isinstance(encoder, VQGANEncoder)
    assert isinstance(decoder, VQGANDecoder)
    around = parameters(encoder.project), parameters(decoder.project)
    assert around == (65_792, 65_792)
    counts = (parameters(encoder) - around[0], parameters(decoder) - around[1], parameters(quantizer))
    names = [theirs for own in codec.state_dict() if (theirs := codec_name(own)) is not None]
    assert (parameters(codec), *counts, len(set(names))) == TOTALS[name]
    assert len(names) == len(set(names))
    assert codec.encoder.hop == (8 if "f8" in name else 16)


def test_names_are_those_of_the_published_files():
    with torch.device("meta"):
        codec = Codec.build(VARIANTS["imagenet-f16-1024"].config())
    shapes = {codec_name(own): tuple(t.shape) for own, t in codec.state_dict().items()}
    assert shapes["encoder.down.2.block.0.nin_shortcut.weight"] == (256, 128, 1, 1)
    assert shapes["encoder.down.4.attn.1.proj_out.bias"] == (512,)
    assert shapes["encoder.down.3.downsample.conv.weight"] == (256, 256, 3, 3)
    assert shapes["encoder.mid.attn_1.k.weight"] == (512, 512, 1, 1)
    assert shapes["decoder.up.3.block.0.nin_shortcut.weight"] == (256, 512, 1, 1)
    assert shapes["decoder.up.4.attn.2.norm.weight"] == (512,)
    assert shapes["decoder.up.1.upsample.conv.weight"] == (128, 128, 3, 3)
    assert "decoder.up.0.upsample.conv.weight" not in shapes
    assert "encoder.down.4.downsample.conv.weight" not in shapes


def test_the_small_model_gives_the_published_numbers():
    codec, picture = small(), values("input", (1, 3, 64, 64))
    with torch.no_grad():
        output = codec(Batch(picture))
    wanted = [95, 117, 117, 58, 58, 41, 46, 103, 78, 35, 70, 95, 20, 27, 75, 27]
    assert output.quantized.indices.flatten().tolist() == wanted
    close(output.losses["vq/commitment"] + output.losses["vq/codebook"], 0.560193)
    made = output.reconstruction.signal
    assert made is not None
    close(torch.stack([made.mean(), made.std(correction=0), made[0, 0, 0, 0], made[0, 2, 63, 63]]),
          -0.041162, 0.666748, 0.01666, 0.0409)  # fmt: skip


def test_a_picture_that_is_not_square():
    codec, picture = small(), values("input", (1, 3, 96, 80))
    with torch.no_grad():
        output = codec(Batch(picture))
    assert output.quantized.indices.shape == (1, 1, 6, 5)
    assert output.quantized.indices.sum() == 1889
    assert output.reconstruction.signal is not None
    close(output.reconstruction.signal.std(correction=0), 0.660997)


def test_gumbel_gives_the_published_numbers():
    codec = small((1, 1, 2, 4), 8, quantizer={"name": "gumbel", "codebook_size": 128, "prior": 1.0})
    assert isinstance(codec.quantizer, GumbelQuantizer)
    with torch.no_grad():
        output = codec(Batch(values("input", (1, 3, 64, 64))))
        close(codec.quantizer.logits(output.latents.movedim(1, -1)).std(correction=0), 0.560819)
    close(output.losses["vq/prior"], 0.154597)
    assert output.reconstruction.signal is not None
    close(output.reconstruction.signal.std(correction=0), 0.636407)


@pytest.mark.slow
def test_the_full_model_gives_the_published_numbers():
    codec = Codec.build(VARIANTS["imagenet-f16-1024"].config(perceptual={"network": "none"})).eval()
    fill(codec, codec_name)
    with torch.no_grad():
        output = codec(Batch(values("input", (1, 3, 256, 256))))
    indices = output.quantized.indices.flatten()
    assert indices.sum() == 135_890
    assert indices[:8].tolist() == [434, 782, 1010, 782, 237, 959, 520, 782]
    made = output.reconstruction.signal
    assert made is not None
    found = torch.stack(
        [output.latents.mean(), output.latents.std(correction=0), made.mean(), made.std(correction=0)]
    )
    close(found, 0.083328, 0.601979, -0.613925, 0.708207)


def test_the_whole_loss_gives_the_published_numbers(tmp_path: Path):
    vgg, linear = write_lpips(tmp_path)
    codec = small(perceptual={"network": "lpips", "vgg": str(vgg), "linear": str(linear)})
    critic = PatchCritic(3).eval()
    fill(critic, lambda own: own.replace("layers", "discriminator.main"))
    assert isinstance(codec.decoder, VQGANDecoder)
    picture = values("input", (1, 3, 64, 64))
    output = codec(Batch(picture))
    made = output.reconstruction.signal
    assert made is not None
    nll = output.losses["picture/l1"] + output.losses["picture/perceptual"]
    game = maker_loss([j.scores for j in critic(made)], [None])
    weight = 0.8 * adaptive_weight(nll, game, codec.decoder.last_layer)
    tell = critic_loss(*([j.scores for j in critic(x)] for x in (picture, made)), [None])
    total = output.loss + weight * game
    found = torch.stack([nll, output.losses["picture/perceptual"], game, weight, total, tell / 2])
    close(found.detach(), 0.865911, 0.16052, -0.001543, 0.989983, 1.424577, 1.008435)
    total.backward()
    assert all(p.grad is not None for p in (*codec.encoder.parameters(), *codec.decoder.parameters()))
    assert not any("lpips" in name or "perceptual" in name for name in codec.state_dict())


@pytest.mark.parametrize("legacy", [True, False])
def test_where_beta_stands_decides_gradients_only(legacy: bool):
    weights = {"commitment": 1.0, "codebook": 0.25} if legacy else {"commitment": 0.25, "codebook": 1.0}
    spec = VARIANTS["imagenet-f16-1024"].config()["quantizer"]
    codec = small(quantizer=spec | {"codebook_size": 128, "learning": {"by": "gradient"} | weights})
    quantizer = codec.quantizer
    assert isinstance(quantizer, VectorQuantizer)
    vectors = quantizer.codebook.vectors
    z = values("z", (1, 64, 4, 4)).requires_grad_()
    out = quantizer(z)
    loss = out.losses["commitment"] + out.losses["codebook"]
    to_z, to_codes = torch.autograd.grad(loss, [z, vectors], retain_graph=True)
    chosen = vectors[out.indices[0, 0]].permute(2, 0, 1)[None].detach()
    # Written out: (1 + beta) mean (z - e)^2 and its two halves' derivatives.
    error = z.detach() - chosen
    close(loss.detach(), 1.25 * error.square().mean().item(), tolerance=1e-6)
    assert torch.allclose(to_z, 2 * weights["commitment"] * error / error.numel(), atol=1e-8)
    by_hand = torch.zeros_like(vectors).index_add_(
        0, out.indices.flatten(), -2 * weights["codebook"] * error[0].flatten(1).T / error.numel()
    )
    assert torch.allclose(to_codes, by_hand, atol=1e-8)
    w = torch.randn_like(z)
    assert torch.equal(torch.autograd.grad((out.vectors * w).sum(), z)[0], w)


def test_sizes_that_the_hop_does_not_divide_lose_the_rest():
    codec = Codec.build(_tiny())
    batch = Batch(torch.rand(2, 3, 34, 27) * 2 - 1)
    output = codec(batch)
    assert output.quantized.indices.shape == (2, 1, 8, 6)
    made = output.reconstruction.signal
    assert made is not None
    assert made.shape == (2, 3, 32, 24)
    close(output.losses["picture/l1"].detach(), (made - batch.signal[..., :32, :24]).abs().mean().item())
    assert widths_of("f16").hop == 16
    with torch.device("meta"):
        assert VQGANEncoder(size="f16").grid((250, 250)) == (15, 15)
    with pytest.raises(BadSetting, match="3 x 40 pixels is too small"):
        codec.encode(torch.zeros(1, 3, 3, 40))


def test_losses_are_computed_in_full_precision():
    codec, batch = Codec.build(_tiny()).eval(), Batch(torch.rand(2, 3, 24, 32) * 2 - 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = codec(batch)
    made = output.reconstruction.signal
    assert made is not None
    assert made.dtype == output.losses["picture/l1"].dtype == torch.float32
    close(output.losses["picture/l1"], (made - batch.signal).abs().mean().item(), tolerance=1e-6)


def test_decoding_codes_is_what_training_made():
    codec, picture = Codec.build(_tiny()).eval(), torch.rand(2, 3, 24, 32) * 2 - 1
    with torch.no_grad():
        made = codec(Batch(picture)).reconstruction.signal
    assert made is not None
    assert torch.equal(codec.decode(codec.encode(picture)), made.clamp(-1, 1))


def test_a_padded_picture_is_as_if_alone():
    codec, pictures = Codec.build(_tiny()).eval(), torch.rand(3, 3, 24, 32) * 2 - 1
    mask = torch.zeros(3, 24, 32, dtype=torch.bool)
    mask[0], mask[1, :17, :9], mask[2, :8, :11] = True, True, True
    codes = codec.encode(pictures, mask)
    alone = codec.encode(pictures[1:2, :, :17, :9])
    assert torch.equal(codes.indices[0], codec.encode(pictures[:1]).indices[0])
    assert torch.equal(codes.indices[1, :, :4, :2], alone.indices[0])
    assert (codes.indices[1] >= 0).sum() == 8
    assert (codes.indices[2] >= 0).sum() == 4
    spoken = codec.decode(codes)
    assert torch.allclose(spoken[1, :, :16, :8], codec.decode(alone)[0], atol=1e-6)
    assert not spoken[1, :, 16:].any()
    assert not spoken[1, :, :, 8:].any()
    with pytest.raises(BadSetting, match="3 x 32 pixels is too small"):
        codec.encode(pictures[:1], mask[:1] & (torch.arange(24) < 3)[:, None])
    noise = torch.where(mask[:, None], pictures, torch.rand_like(pictures))
    losses = [codec(Batch(x, mask)).loss.item() for x in (pictures, noise)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_segmentation_is_learned_by_cross_entropy_and_comes_out_one_hot():
    widths = Widths(32, (1, 1, 2), 1, (), 32, colours=5, latent=32)
    decoder = VQGANDecoder(size=widths, loss=PictureLoss(kind="segmentation"))
    vectors = torch.randn(2, 32, 3, 4)
    classes = torch.randint(5, (2, 12, 16))
    onehot = nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).float()
    said = decoder.reconstruct(vectors, Batch(onehot))
    assert list(said.losses) == ["picture/bce"]
    assert said.signal is not None
    wanted = nn.functional.binary_cross_entropy_with_logits(said.signal, onehot)
    assert said.losses["picture/bce"].item() == pytest.approx(wanted.item(), rel=1e-5)
    made = decoder.generate(vectors)
    assert torch.equal(made.argmax(1), said.signal.argmax(1))
    assert torch.equal(made.sum(1), torch.ones(2, 12, 16))
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[0], mask[1, :2, :3] = True, True
    parts = decoder.generate(vectors, mask)
    assert torch.allclose(parts[0], made[0])
    assert torch.allclose(parts[1, :, :8, :12], decoder.generate(vectors[1:, :, :2, :3])[0])
    assert parts[1].sum() == 8 * 12


def test_squared_errors_in_place_of_absolute_ones():
    loss = PictureLoss(error="squared", pixels=0.5, perceptual=Perceptual("none"))
    decoder = VQGANDecoder(8, size=_widths(), loss=loss)
    batch = Batch(torch.rand(2, 3, 16, 12) * 2 - 1, torch.ones(2, 16, 12, dtype=torch.bool))
    said = decoder.reconstruct(torch.randn(2, 8, 4, 3), batch)
    assert list(said.losses) == ["picture/mse"]
    assert said.signal is not None
    pairs = zip(said.signal.flatten().tolist(), batch.signal.flatten().tolist(), strict=True)
    wanted = sum((a - b) ** 2 for a, b in pairs) / batch.signal.numel()
    assert said.losses["picture/mse"].item() == pytest.approx(0.5 * wanted, rel=1e-5)


@pytest.mark.parametrize("size", ["tiny", "tiny-f8", "small", "base"])
def test_small_sizes_learn(size: str):
    widths = SIZES[size]
    encoder, decoder = VQGANEncoder(32, size=size), VQGANDecoder(32, size=size)
    assert decoder.hop == encoder.hop == widths.hop
    codec = Codec(encoder, VectorQuantizer(32, 16), decoder, room="image", rate=1)
    loss = codec(Batch(torch.rand(1, 3, 32, 32) * 2 - 1)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in (*encoder.parameters(), *decoder.parameters()))


def test_a_padded_batch_looks_as_different_as_its_pictures_alone():
    torch.manual_seed(0)
    loss = PictureLoss(pixels=0.0, perceptual=Perceptual("efficientnet"))
    sizes = [(48, 48), (32, 40), (16, 24), (8, 48)]  # the last is too small to be looked at
    made, target = torch.rand(2, 4, 3, 48, 48) * 2 - 1
    weight = torch.zeros(4, 1, 48, 48)
    for row, (height, width) in enumerate(sizes):
        weight[row, :, :height, :width] = 1
    alone = [
        loss.perceptual(made[i : i + 1, :, :h, :w], target[i : i + 1, :, :h, :w])
        for i, (h, w) in enumerate(sizes[:3])
    ]
    expected = sum(float(one) for one in alone) / 3
    found = loss(made, target, weight)["picture/perceptual"]
    assert found.item() == pytest.approx(expected, rel=1e-5)
    noise = torch.where(weight > 0, made, torch.rand_like(made))
    assert torch.equal(found, loss(noise, target, weight)["picture/perceptual"])
    whole = loss(made[:1], target[:1], torch.ones(1, 1, 48, 48))["picture/perceptual"]
    assert whole.item() == pytest.approx(float(alone[0]), rel=1e-5)
    assert loss(made[3:], target[3:], weight[3:])["picture/perceptual"].item() == 0


def test_saved_and_loaded_without_the_perceptual_network(tmp_path: Path):
    lost = Perceptual("lpips", vgg="nowhere/vgg16.pth", linear="nowhere/vgg.pth")
    config = _tiny() | {"decoder": {"name": "vqgan", "size": _widths(), "loss": PictureLoss(perceptual=lost)}}
    codec = Codec.build(config).eval()
    codec.save_pretrained(tmp_path / "codec")
    again, picture = Codec.from_pretrained(tmp_path / "codec"), torch.rand(1, 3, 16, 16)
    assert isinstance(again.decoder, VQGANDecoder)
    assert again.decoder.loss.perceptual == lost
    assert torch.equal(again.decode(again.encode(picture)), codec.decode(codec.encode(picture)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: widths_of("f17"), "no size 'f17' of the VQGAN; known: tiny, tiny-f8, small, base, "),
        (lambda: Widths(attention=(17,)), "no level has 17 pixels a side"),
        (lambda: Widths(multipliers=()), "give one above 0 for each level"),
        (lambda: Widths(colours=0), "must be at least 1"),
        (lambda: Widths(dropout=1.0), r"dropout is 1.0; it must be in \[0, 1\)"),
        (lambda: VQGANEncoder(size=Widths(48, (1,), 1, (), 32)), "48 channels cannot be normalised in 32"),
        (lambda: PictureLoss(kind="sound"), "not a 'sound'"),
        (lambda: PictureLoss(error="cubed"), "'absolute' or 'squared', not 'cubed'"),
        (lambda: PictureLoss(features=-1), "must be at least 0"),
        (lambda: Perceptual("vgg19"), "no perceptual loss called 'vgg19'; known: efficientnet, lpips, none"),
        (lambda: Perceptual(vgg="x"), "reads neither vgg nor linear"),
        (lambda: variant("imagenet-f32"), "no published VQGAN called 'imagenet-f32'; known: ade-"),
    ],
)
def test_bad_settings_are_sentences(make: Any, sentence: str):
    with pytest.raises((BadSetting, UnknownName), match=sentence):
        make()


def _widths() -> Widths:
    return Widths(32, (1, 1, 1), 1, (4,), 16, latent=32)


def _tiny() -> dict[str, Any]:
    return {
        "room": "image",
        "rate": 1,
        "encoder": {"name": "vqgan", "size": _widths(), "dim": 8},
        "quantizer": {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}},
        "decoder": {"name": "vqgan", "size": _widths(), "loss": PictureLoss(perceptual=Perceptual("none"))},
    }
