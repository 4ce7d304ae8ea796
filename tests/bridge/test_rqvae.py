"""Published RQ-VAEs: in, with the numbers of the published code, out again bit for bit; damaged ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.bridge import load
from speechvq.bridge.rqvae import import_critic
from speechvq.bridge.rqvae_codec import codec_config, codec_places
from speechvq.bridge.rqvae_export import export_rqvae
from speechvq.cli import main
from speechvq.codec import Batch, Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.image.vqgan import VQGANDecoder
from speechvq.quantize import ResidualQuantizer
from tests.wavefill import signal

from .rqvae_published import RQVAE, TINY, books, networks, tensors, write
from .taming_published import VQGAN, discriminator

F32 = VQGAN(ch=128, mult=(1, 1, 2, 2, 4, 4), attends=(5,), z=256, embed=256, resolution=256)
IMAGENET = RQVAE(F32, 16384, 4)
FFHQ = RQVAE(replace(F32, attends=(4,)), 2048, 4)
OWN, FOLDED = replace(TINY, shared=False), replace(TINY, fold=2)


def codec_of(path: Path, **more: Any) -> Codec:
    codec = load(path, kind="rqvae", **more)
    assert isinstance(codec, Codec)
    return codec


@torch.no_grad()
def numbers(codec: Codec) -> list[float]:
    """Of the sheet's picture: codes, commitment, what is quantized, and what is made of it."""
    assert isinstance(codec.decoder, VQGANDecoder)
    said = codec.quantizer(codec.encoder(signal(2, 3, 16, 16)))
    made = codec.decoder(said.vectors)
    figures = [said.losses["commitment"] / 0.25, said.vectors.sum(), made.sum(), made.square().sum()]
    ends = [made.flatten()[0], made.flatten()[-1]]
    return [float(figure) for figure in (said.indices.sum(), *figures, *ends)]


PUBLISHED = pytest.approx(
    [2850, 0.0775619769, 250.6679618999, -16.4958437417, 383.4098967927, -0.1674048107, 0.0033206994],
    rel=1e-6,
    abs=1e-4,
)


@pytest.mark.parametrize("config", [False, True])
def test_the_tiny_model_gives_the_published_numbers(tmp_path: Path, config: bool) -> None:
    path = write(tmp_path, tensors(), TINY.yaml() if config else None)
    codec = codec_of(path)
    assert not codec.training
    assert (codec.room, codec.rate, codec.encoder.hop) == ("image", 1, 2)
    assert codec.config["decoder"]["loss"]["error"] == "squared"
    assert numbers(codec) == PUBLISHED


def there_and_back(path: Path, codec: Codec, folder: Path) -> dict[str, Tensor]:
    """The tensors of the file, which are those of one made of the codec."""
    codec.save_pretrained(folder / "codec")
    export_rqvae(
        Codec.from_pretrained(folder / "codec"), folder / "out.pt", config=folder / "out.yaml", epoch=9
    )
    found = torch.load(folder / "out.pt", weights_only=True)
    wanted = torch.load(path, weights_only=True)["state_dict"]
    assert found["epoch"] == 9
    assert found["state_dict"].keys() == wanted.keys()
    assert all(torch.equal(found["state_dict"][name], wanted[name]) for name in wanted)
    again = codec_of(folder / "out.pt", config=folder / "out.yaml")
    assert again.config == codec.config
    return found["state_dict"]


@pytest.mark.parametrize("sizes", [TINY, OWN, FOLDED, replace(TINY, depth=1), replace(OWN, fold=2, depth=2)])
@pytest.mark.parametrize("config", [False, True])
def test_there_and_back_bit_for_bit(tmp_path: Path, sizes: RQVAE, config: bool) -> None:
    path = write(tmp_path / "in", tensors(sizes), sizes.yaml() if config else None)
    codec = codec_of(path)
    assert isinstance(codec.quantizer, ResidualQuantizer)
    assert len(codec.quantizer.codebooks) == (1 if sizes.shared and sizes.depth > 1 else sizes.depth)
    assert codec.encoder.hop == 2 * sizes.fold
    state = there_and_back(path, codec, tmp_path)
    if sizes.shared and sizes.depth > 1:
        copies = {state[f"quantizer.codebooks.{d}.weight"].data_ptr() for d in range(sizes.depth)}
        assert len(copies) == 1


def test_what_the_yaml_tells_is_taken_and_told_again(tmp_path: Path) -> None:
    told = {"loss_type": "l1", "latent_loss_weight": 0.5, "decay": [0.9] * 3, "n_embed": [16] * 3}
    config = OWN.yaml(**told, restart_unused_codes=False)
    config["arch"]["ddconfig"]["dropout"] = 0.1
    path = write(tmp_path / "in", tensors(OWN), config)
    codec = codec_of(path)
    spec = codec.config["quantizer"]
    assert (spec["learning"]["decay"], spec["learning"]["commitment"]) == (0.9, 0.5)
    assert spec["revival"]["threshold"] == 0
    assert codec.config["decoder"]["loss"]["error"] == "absolute"
    assert codec.config["encoder"]["size"]["dropout"] == 0.1
    there_and_back(path, codec, tmp_path)


def test_an_imported_one_learns_on_with_its_averages(tmp_path: Path) -> None:
    state = tensors()
    state["quantizer.codebooks.0.cluster_size_ema"].fill_(3)
    codec = codec_of(write(tmp_path, state))
    codec.decoder.loss = replace(codec.decoder.loss, features=0.0)
    codec.train()
    before = codec.quantizer.codebooks[0].vectors.clone()
    codec(Batch(torch.rand(1, 3, 16, 16) * 2 - 1)).loss.backward()
    (book,) = codec.quantizer.codebooks
    assert book.counts.sum() == pytest.approx(0.99 * 16 * 3 + 0.01 * 64 * 3)
    assert not torch.equal(book.vectors, before)
    assert codec.encoder.enter.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("sizes", "total", "keys", "numel"),
    [(IMAGENET, 104_402_051, 398, 133_828_483), (FFHQ, 100_732_035, None, None)],
)
def test_every_tensor_of_the_published_sizes_has_one_place(
    sizes: RQVAE, total: int, keys: int | None, numel: int | None
) -> None:
    shapes = networks(sizes) | books(sizes)
    if keys is not None:
        assert len(shapes) == keys
        assert sum(torch.Size(shape).numel() for shape in shapes.values()) == numel
    for name in [name for name in shapes if name.startswith("quantizer.codebooks.0.w")]:
        shapes[name] = (sizes.codes, sizes.dim)
    shapes = {name: shape for name, shape in shapes.items() if "codebooks" not in name or ".0." in name}
    with torch.device("meta"):
        empty = {name: torch.empty(shape) for name, shape in shapes.items()}
        config = codec_config(empty, None, depth=4, shared=True, path="model.pt")
        codec = Codec.build(config)
    assert config["encoder"]["size"] == ("f32" if sizes is IMAGENET else "f32-ffhq")
    places = codec_places(codec)
    assert {name: place.shape for name, place in places.items()} == shapes
    assert len({place.own for place in places.values()}) == len(places)
    learned = sum(parameter.numel() for parameter in codec.parameters())
    assert learned + (sizes.codes + 1) * 256 == total


def test_the_tiny_model_has_as_many_keys_as_the_published() -> None:
    shapes = networks(TINY) | books(TINY)
    assert len(shapes) == 163
    copies = [name for name in shapes if ".codebooks.1." in name or ".codebooks.2." in name or "_ema" in name]
    assert sum(torch.Size(shape).numel() for name, shape in shapes.items() if name not in copies) == 711_171


def test_two_tensors_in_one_anothers_place_are_noticed(tmp_path: Path) -> None:
    state = tensors()
    mid, up = "encoder.mid.attn_1", "decoder.up.1.block"
    pairs = [
        (f"{mid}.q.weight", f"{mid}.k.weight"),
        (f"{mid}.v.bias", f"{mid}.proj_out.bias"),
        (f"{up}.0.conv1.weight", f"{up}.1.conv1.weight"),
        ("quant_conv.weight", "post_quant_conv.weight"),
        ("decoder.up.1.attn.0.q.weight", "decoder.up.1.attn.1.q.weight"),
    ]
    for a, b in pairs:
        swapped = state | {a: state[b], b: state[a]}
        assert numbers(codec_of(write(tmp_path, swapped))) != PUBLISHED, (a, b)


BOOK = "quantizer.codebooks"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decoder.norm_out.bias": None}, "has no 'decoder.norm_out.bias'"),
        ({"decoder.extra": torch.zeros(1)}, "has 'decoder.extra', which should not be there"),
        ({f"{BOOK}.0.weight": None}, "has no 'quantizer.codebooks.0.weight': it is no RQ-VAE"),
        ({f"{BOOK}.1.embed_ema": torch.zeros(16, 8)}, "shared_codebook True, but in .* they differ"),
        (
            {f"{BOOK}.2.{leaf}": None for leaf in ("weight", "cluster_size_ema", "embed_ema")},
            "says depth 3, but",
        ),
        ({f"{BOOK}.1.{leaf}": None for leaf in ("weight", "cluster_size_ema", "embed_ema")}, "do not follow"),
        ({f"{BOOK}.0.cluster_size_ema": torch.full((16,), torch.nan)}, "holds NaN"),
        ({"quant_conv.bias": torch.zeros(9)}, r"'quant_conv.bias' has the shape \(9,\) where \(8,\)"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    state = {name: tensor for name, tensor in (tensors() | change).items() if tensor is not None}
    with pytest.raises(BadCheckpoint, match=sentence):
        codec_of(write(tmp_path, state, TINY.yaml()))


def test_codebooks_that_are_no_codebooks(tmp_path: Path) -> None:
    state = tensors()
    state[f"{BOOK}.0.weight"][-1, 3] = 1e-3
    with pytest.raises(
        BadCheckpoint, match=r"the last row of 'quantizer.codebooks.0.weight', .* is not zero"
    ):
        codec_of(write(tmp_path, state, TINY.yaml()))
    with pytest.raises(BadCheckpoint, match="shared_codebook False, but in .* they are one and the same"):
        codec_of(write(tmp_path, tensors(), OWN.yaml()))


@pytest.mark.parametrize(
    ("hparams", "sentence"),
    [
        ({"bottleneck_type": "vq"}, "bottleneck_type is 'vq'"),
        ({"loss_type": "huber"}, "loss_type is 'huber'; known: mse, l1"),
        ({"code_shape": [8, 8]}, r"code_shape is \[8, 8\], not three whole numbers"),
        ({"code_shape": [8, 4, 3]}, "are no squares of them"),
        ({"code_shape": [3, 3, 3]}, "are no squares of them"),
        ({"code_shape": [4, 4, 3]}, "says fold 2, but .* tensors for 1"),
        ({"code_shape": [8, 8, 4]}, "says depth 4, but .* tensors for 3"),
        ({"n_embed": 17}, "says n_embed 17, but .* tensors for 16"),
        ({"n_embed": [16, 8, 16]}, "n_embed is .*, not a whole number"),
        ({"shared_codebook": "yes"}, "should be true or false"),
        ({"decay": "0.9"}, "decay is '0.9', not a number"),
    ],
)
def test_yamls_of_another_model(tmp_path: Path, hparams: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadCheckpoint, match=sentence):
        codec_of(write(tmp_path, tensors(), TINY.yaml(**hparams)))


def test_yamls_of_another_kind(tmp_path: Path) -> None:
    path = write(tmp_path, tensors(), {"arch": {"type": "rq-transformer"}})
    with pytest.raises(BadCheckpoint, match="is not of the type 'rq-vae', as .* is"):
        codec_of(path)
    with pytest.raises(BadCheckpoint, match="its arch has the type 'vqgan'"):
        codec_of(write(tmp_path, tensors(), {"arch": {"type": "vqgan"}}))
    config = TINY.yaml()
    del config["arch"]["hparams"]
    with pytest.raises(BadCheckpoint, match="has no arch.hparams"):
        codec_of(write(tmp_path, tensors(), config))
    with pytest.raises(BadCheckpoint, match="no part 'state_dict_ema'"):
        codec_of(write(tmp_path, tensors()), averaged=True)
    with pytest.raises(BadCheckpoint, match="holds more than tensors"):
        codec_of(write(tmp_path, tensors(), scheduler=Path("x")))


@pytest.mark.parametrize(
    "change",
    [
        {"quantizer": {"learning": {"by": "gradient"}}},
        {"quantizer": {"learning": {"scaling": "sum"}}},
        {"quantizer": {"space": {"dim": 4}}},
        {"decoder": {"loss": {"kind": "segmentation"}}},
        {"quantizer": {"name": "vector"}},
    ],
)
def test_a_codec_of_other_parts_is_not_exported(tmp_path: Path, change: dict[str, Any]) -> None:
    config = codec_of(write(tmp_path, tensors())).config
    ((part, values),) = change.items()
    spec = {key: value for key, value in config[part].items() if key not in values} | values
    if spec["name"] == "vector":
        spec = {"name": "vector", "codebook_size": 8}
    with pytest.raises(BadSetting, match="other parts than the RQ-VAE"):
        export_rqvae(Codec.build(config | {part: spec}), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_the_discriminator_comes_if_asked_for(tmp_path: Path) -> None:
    wanted = discriminator(2)
    path = write(tmp_path, tensors(), discriminator=wanted)
    critic = import_critic(path)
    assert not critic.training
    assert sum(p.numel() for p in critic.parameters()) == 663_361
    (last,) = [t for name, t in wanted.items() if name.endswith("weight") and t.shape[0] == 1]
    assert torch.equal(list(critic.parameters())[-2], last)
    with pytest.raises(BadCheckpoint, match="no part 'discriminator'"):
        import_critic(write(tmp_path, tensors()))


def test_at_the_command_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(Path("in"), tensors(), TINY.yaml(), state_dict_ema=tensors())
    assert main(["import", "rqvae", str(path), "codec", "--averaged"]) == 0
    assert "imported: codec (" in capsys.readouterr().err
    assert "model.pt" in Path("codec/README.md").read_text()
    assert main(["import", "rqvae", str(path), "codec"]) == 2
    assert "already there" in capsys.readouterr().err
    out = ["export", "rqvae", "codec", "out/model.pt", "--config", "out/config.yaml", "--epoch", "9"]
    Path("out").mkdir()
    assert main(out) == 0
    found, wanted = (torch.load(p, weights_only=True) for p in ("out/model.pt", path))
    assert found["epoch"] == wanted["epoch"]
    assert all(
        torch.equal(found["state_dict"][name], tensor) for name, tensor in wanted["state_dict"].items()
    )
    assert numbers(codec_of(Path("out/model.pt"))) == PUBLISHED
    with pytest.raises(WouldOverwrite):
        export_rqvae(codec_of(path), "out/model.pt")
    before = sorted(workdir.rglob("*"))
    for command, sentence in [
        (["import", "rqvae", "none.pt", "x"], "none.pt is not there"),
        (["import", "rqvae", "in/config.yaml", "x"], "not a torch checkpoint"),
        (["import", "rqvae", str(path), "x", "--config", "none.yaml"], "none.yaml is not there"),
        (["import", "rqvae", str(path), "x", "--codec", "codec"], "needs no other codec"),
        (["import", "rqvae", str(path), "in/config.yaml"], "in/config.yaml is a file"),
        (["export", "rqvae", "in", "x.pt"], "in is not a model folder"),
    ]:
        assert main(command) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(workdir.rglob("*")) == before
