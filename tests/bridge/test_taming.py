"""Published VQGANs: in, with the numbers of the published code, out again bit for bit; damaged ones."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.bridge import load
from speechvq.bridge.taming_export import export_taming
from speechvq.bridge.taming_names import codec_places
from speechvq.bridge.taming_vqgan import codec_config
from speechvq.codec import Batch, Codec
from speechvq.errors import BadCheckpoint, BadSetting, UnknownName, WouldOverwrite
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder
from tests.hashfill import values

from .taming_published import GUMBEL, SMALL, TINY, VQGAN, discriminator, filled, vqgan, write, write_yaml

CODES = [95, 117, 117, 58, 58, 41, 46, 103, 78, 35, 70, 95, 20, 27, 75, 27]
F16 = VQGAN(ch=128, attends=(4,), z=256, embed=256, codes=1024)
F8 = replace(F16, mult=(1, 1, 2, 4), attends=(3,), codes=8192, gumbel=True)


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    return filled(vqgan(SMALL))


def codec_of(path: Path, **more: Any) -> Codec:
    codec = load(path, kind="taming", **more)
    assert isinstance(codec, Codec)
    return codec


@torch.no_grad()
def numbers(codec: Codec) -> tuple[list[int], list[float]]:
    """Codes of the sheet's picture, and the loss of the quantizer and what the decoder makes of it."""
    picture = values("input", (1, 3, 64, 64))
    assert isinstance(codec.decoder, VQGANDecoder)
    out = codec.quantizer(codec.encoder(picture))
    made = codec.decoder(out.vectors)
    loss = torch.stack(list(out.losses.values())).sum() / len(out.losses)
    figures = [loss, made.mean(), made.std(correction=0), made[0, 0, 0, 0], made[0, 2, 63, 63]]
    return out.indices.flatten().tolist(), [figure.item() for figure in figures]


PUBLISHED = pytest.approx([0.560193 / 1.25 * 0.625, -0.041162, 0.666748, 0.01666, 0.0409], abs=1e-4)
"""The two losses are 1 and 0.25 of the same mean."""


@pytest.mark.parametrize("config", [False, True])
def test_the_small_model_gives_the_published_numbers(
    tmp_path: Path, small: dict[str, Tensor], config: bool
) -> None:
    names = list(small)
    random.Random(1).shuffle(names)
    path = write(tmp_path / "last.ckpt", {name: small[name] for name in names})
    yaml = {"config": write_yaml(tmp_path / "m.yaml", SMALL.yaml())} if config else {}
    codec = codec_of(path, **yaml)
    assert not codec.training
    assert (codec.room, codec.rate, codec.encoder.hop) == ("image", 1, 16)
    codes, figures = numbers(codec)
    assert codes == CODES
    assert figures == PUBLISHED


def test_gumbel_gives_the_published_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", filled(vqgan(GUMBEL)))
    falls = {"warm_up_steps": 0, "max_decay_steps": 7, "lr_start": 0.9, "lr_max": 0.8, "lr_min": 0.1}
    schedule = {"target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler", "params": falls}
    yaml = GUMBEL.yaml(kl_weight=1.0, temperature_scheduler_config=schedule)
    codec = codec_of(path, config=write_yaml(tmp_path / "m.yaml", yaml))
    assert codec.quantizer.spec["anneal"] == {"start": 0.8, "end": 0.1, "steps": 7, "by": "cosine"}
    _, figures = numbers(codec)
    assert [figures[0], figures[2]] == pytest.approx([0.154597, 0.636407], abs=1e-4)
    bare = codec_of(path)
    assert (bare.quantizer.spec["prior"], bare.quantizer.spec["anneal"]["steps"]) == (1e-8, 1_000_001)
    assert numbers(bare)[1][1:] == figures[1:]
    there_and_back(codec, path, tmp_path)


def there_and_back(model: Any, path: Path, folder: Path) -> None:
    """The model's file, its types and its yaml, after saving and loading."""
    model.save_pretrained(folder / "saved")
    again = type(model).from_pretrained(folder / "saved")
    export_taming(again, folder / "out.ckpt", config=folder / "out.yaml", step=5, force=True)
    before, after = (torch.load(p, weights_only=True) for p in (path, folder / "out.ckpt"))
    assert after["global_step"] == 5
    kept = {n: t for n, t in before["state_dict"].items() if not n.startswith("loss.")}
    assert after["state_dict"].keys() == kept.keys()
    for name, tensor in kept.items():
        found = after["state_dict"][name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found, tensor) or name.endswith("colorize"), name
    third = load(folder / "out.ckpt", kind="taming", config=folder / "out.yaml")
    assert [p.spec for p in _parts(third)] == [p.spec for p in _parts(again)]


def _parts(model: Any) -> list[Any]:
    codecs = [model] if isinstance(model, Codec) else [c for c in (model.codec, model.condition) if c]
    found = [getattr(codec, part) for codec in codecs for part in ("encoder", "quantizer", "decoder")]
    return found if isinstance(model, Codec) else [model.prior, *found]


@pytest.mark.parametrize("colours", [1, 3, 182, 183])
def test_it_is_saved_and_exported_bit_for_bit(tmp_path: Path, colours: int) -> None:
    sizes = replace(TINY, colours=colours, colorize=colours > 3)
    tensors = filled(vqgan(sizes)) | {f"loss.{n}": t for n, t in discriminator(2, colours).items()}
    path = write(tmp_path / "last.ckpt", tensors)
    codec = codec_of(path)
    assert isinstance(codec.decoder, VQGANDecoder)
    assert codec.decoder.loss.kind == ("picture" if colours < 4 else "segmentation")
    there_and_back(codec, path, tmp_path)
    codec.decoder.loss = replace(codec.decoder.loss, features=0.0)
    codec.train()
    signal = torch.rand(1, colours, 16, 16) * 2 - 1
    before = codec.state_dict()["quantizer.codebook.vectors"].clone()
    codec(Batch(signal)).loss.backward()
    assert codec.encoder.enter.weight.grad.abs().sum() > 0
    assert torch.equal(codec.state_dict()["quantizer.codebook.vectors"], before)
    with pytest.raises(WouldOverwrite):
        export_taming(codec, path)


@pytest.mark.parametrize(
    ("sizes", "total", "keys"),
    [
        (F16, 72_141_699, 343),
        (replace(F16, codes=16384), 76_073_859, 343),
        (replace(F16, colours=1), 72_137_089, 343),
        (replace(F16, colours=183, colorize=True), 72_556_599, 344),
        (replace(F16, colours=182, colorize=True), 72_554_294, 344),
        (F8, 68_995_971, 301),
    ],
)
def test_every_tensor_of_the_published_sizes_has_one_place(sizes: VQGAN, total: int, keys: int) -> None:
    shapes = vqgan(sizes)
    assert len(shapes) == keys
    with torch.device("meta"):
        config = codec_config({n: torch.empty(s) for n, s in shapes.items()}, None, path="last.ckpt")
        codec = Codec.build(config)
    assert isinstance(codec.encoder, VQGANEncoder)
    size = {1: "f16-depth", 3: "f16", 183: "f16-coco", 182: "f16-sflckr"}[sizes.colours]
    assert config["encoder"]["size"] == ("f8" if sizes.gumbel else size)
    shapes.pop("colorize", None)
    places = codec_places(codec)
    assert {name: place.shape for name, place in places.items()} == shapes
    assert len({place.own for place in places.values()}) == len(places)
    assert sum(p.numel() for p in codec.parameters()) == total
    assert {name for name, _ in codec.named_parameters()} == {place.own for place in places.values()}


def test_two_tensors_in_one_anothers_place_are_noticed(tmp_path: Path, small: dict[str, Tensor]) -> None:
    chosen = [
        ("encoder.mid.attn_1.q.weight", "encoder.mid.attn_1.k.weight"),
        ("decoder.up.2.block.1.conv1.weight", "decoder.up.2.block.1.conv2.weight"),
        ("decoder.up.4.block.1.conv1.weight", "decoder.up.4.block.2.conv1.weight"),
    ]
    alike: dict[Any, list[str]] = {}
    for name, tensor in small.items():
        alike.setdefault(tuple(tensor.shape), []).append(name)
    draw = random.Random(3)
    weights = [names for shape, names in sorted(alike.items()) if len(shape) > 1 and len(names) > 1]
    chosen += [tuple(draw.sample(names, 2)) for names in draw.sample(weights, 3)]
    for a, b in chosen:
        swapped = small | {a: small[b], b: small[a]}
        codes, figures = numbers(codec_of(write(tmp_path / "last.ckpt", swapped)))
        assert (codes, figures) != (CODES, PUBLISHED), (a, b)


def test_one_entry_for_every_bridge(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="known: rqvae, taming, vit, vqcpc, zerospeech"):
        load("x", kind="ldm")
    with pytest.raises(UnknownName, match="no option of zerospeech called 'config'; known: speakers"):
        load("x", kind="zerospeech", config="y")
    with pytest.raises(BadCheckpoint, match="none.pt is not there"):
        load(tmp_path / "none.pt", kind="vqcpc", vocoder=None)


def test_a_codec_of_other_parts_is_not_exported(tmp_path: Path, tiny_codec: Path) -> None:
    codec = Codec.from_pretrained(tiny_codec)
    other = codec_of(write(tmp_path / "last.ckpt", filled(vqgan(TINY))))
    spec = other.config | {"quantizer": other.config["quantizer"] | {"space": {"metric": "cosine"}}}
    for strange in (codec, Codec.build(spec)):
        with pytest.raises(BadSetting, match="other parts than the VQGAN"):
            export_taming(strange, tmp_path / "out.ckpt")
    assert not (tmp_path / "out.ckpt").exists()
