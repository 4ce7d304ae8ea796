"""Published ViT-VQGANs: in, with the numbers of the published code, out again bit for bit; damaged ones."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from speechvq.bridge import load
from speechvq.bridge import vit as bridge
from speechvq.bridge.places import places_of
from speechvq.bridge.vit import export_vit, import_vit
from speechvq.cli import main
from speechvq.codec import Batch, Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.image.vit import ViTDecoder, ViTEncoder
from tests import wavefill

from .vit_published import TINY, ViT, filled, loss, shapes_of, write

CODES = [10, 12, 12, 10, 10, 12, 12, 3, 4, 5, 5, 4, 12, 5, 5, 12]
SMALL, LARGE = (8, 8, 512, 2048), (32, 16, 1280, 5120)


def test_the_tiny_model_gives_the_published_numbers(tmp_path: Path):
    tensors = filled() | loss()
    assert len(filled()) == 59
    names = list(tensors)
    random.Random(1).shuffle(names)
    codec = import_vit(write(tmp_path / "last.ckpt", {n: tensors[n] for n in names}), head=16)
    assert isinstance(codec.decoder, ViTDecoder)
    assert not codec.training
    unit = wavefill.signal(2, 3, 16, 16)
    with torch.no_grad():
        output = codec(Batch(2 * unit - 1))
        said = codec.decoder(output.quantized.vectors).double()
    assert output.quantized.indices[0].flatten().tolist() == CODES
    found = [sum(one.item() for one in output.quantized.losses.values()), said.sum().item()]
    found += [said.square().sum().item(), *said.flatten()[:4].tolist()]
    wanted = [0.1161720660, -89.3678675623, 141.9982256588, 0.0620673026, 0.0576585818, 0.0525047772]
    assert found == pytest.approx([*wanted, 0.0466573839], rel=1e-6, abs=1e-4)
    assert codec.decode(codec.encode(2 * unit - 1)).shape == (2, 3, 16, 16)


def test_positions_are_those_of_the_published_code(tmp_path: Path):
    codec = import_vit(write(tmp_path / "last.ckpt", filled()), head=16)
    new = Codec.build(codec.config)
    for part in ("encoder", "decoder"):
        name = f"{part}.patches.places"
        assert torch.equal(codec.state_dict()[name], new.state_dict()[name])


VITS = {
    "tiny": TINY,
    "uneven": ViT((1, 3, 24, 40), (3, 2, 20, 12), 8, 2, 5, 7, 6, 1),
    "one head": ViT((1, 1, 24, 8), (1, 1, 24, 8), 16),
}


@pytest.mark.parametrize("name", VITS)
def test_there_and_back_every_tensor_once_and_bit_for_bit(tmp_path: Path, name: str):
    vit = VITS[name]
    tensors = {n: torch.randn(t.shape) for n, t in filled(vit).items()}
    codec = import_vit(write(tmp_path / "last.ckpt", tensors | loss()), head=vit.head)
    codec.save_pretrained(tmp_path / "codec")
    export_vit(Codec.from_pretrained(tmp_path / "codec"), tmp_path / "out.ckpt", step=7)
    written = torch.load(tmp_path / "out.ckpt", weights_only=True)
    assert written["global_step"] == 7
    assert written["state_dict"].keys() == tensors.keys()
    assert all(torch.equal(written["state_dict"][n], tensors[n]) for n in tensors)
    with pytest.raises(WouldOverwrite):
        export_vit(codec, tmp_path / "out.ckpt")
    export_vit(codec, tmp_path / "out.ckpt", force=True)


def test_published_sizes_have_the_published_names_and_shapes():
    with torch.device("meta"):
        for part, sizes in (("small", SMALL), ("large", LARGE)):
            vit = ViT(SMALL, sizes, 64, 8, 32, 8192, 32)
            shapes = shapes_of(vit)
            tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
            config = bridge._config(tensors, 64, "last.ckpt")
            assert (config["encoder"]["size"], config["decoder"]["size"]) == ("small", part)
            assert config["encoder"]["reading"] == "enhancing"
            codec = Codec.build(config)
            places = places_of(codec, bridge.codec_name)
            assert {name: place.shape for name, place in places.items()} == shapes
            assert codec.encoder.hop == 8
            assert isinstance(codec.encoder, ViTEncoder)
            assert codec.encoder.side == 256


def test_names_of_an_earlier_version(tmp_path: Path):
    now = filled()
    old = {
        n.replace("transformer.norm.", "norm.").replace("to_pixel.1.", "to_pixel.conv_out."): t
        for n, t in now.items()
    }
    assert old.keys() != now.keys()
    state = import_vit(write(tmp_path / "old.ckpt", old), head=16).state_dict()
    again = import_vit(write(tmp_path / "new.ckpt", now), head=16).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)


def changed(name: str, value: Any = None, **more: Any) -> dict[str, Any]:
    tensors = dict(filled()) | more
    return tensors | {name: value} if value is not None else {n: t for n, t in tensors.items() if n != name}


NONE = "this is no first stage of"
BAD = [
    (changed("quantizer.embedding.weight"), f"has no 'quantizer.embedding.weight': {NONE}"),
    (changed("pre_quant.bias"), f"has no 'pre_quant.bias': {NONE}"),
    (changed("encoder.transformer.layers.1.1.fn.net.2.bias"), "has no 'encoder.transformer.layers.1.1"),
    (changed("encoder.transformer.layers.0.0.fn.to_qkv.weight"), "has no 'encoder.transformer.layers.0.0"),
    (changed("extra", torch.zeros(1)), "has 'extra', which should not be there"),
    (changed("pre_quant.weight", torch.zeros(8, 31)), r"'pre_quant.weight' has the shape \(8, 31\)"),
    (changed("pre_quant.bias", torch.full((8,), torch.nan)), "holds NaN or infinity"),
    (changed("encoder.en_pos_embedding", torch.zeros(1, 15, 32)), r"\[15, 16\] places"),
    (changed("decoder.to_pixel.1.weight", torch.zeros(32, 3, 2, 2)), r"patches of \[4, 2\] pixels"),
    (changed("quantizer.embedding.weight", torch.zeros(16)), "it should have 2 axes"),
    (changed("stage1_model.pre_quant.bias", torch.zeros(8)), "is of the second stage"),
]


@pytest.mark.parametrize(("tensors", "sentence"), BAD)
def test_what_is_no_first_stage_is_refused(tmp_path: Path, tensors: dict[str, Any], sentence: str):
    path = write(tmp_path / "last.ckpt", tensors)
    with pytest.raises(BadCheckpoint, match=sentence) as caught:
        import_vit(path, head=16)
    assert str(path) in str(caught.value)


def test_heads_that_cannot_be(tmp_path: Path):
    path = write(tmp_path / "last.ckpt", filled())
    with pytest.raises(
        BadCheckpoint, match="96 rows of queries, keys and values are no heads of 64 channels"
    ):
        import_vit(path)


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def test_a_file_that_would_run_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "last.ckpt", filled(), callbacks={"x": _Trap()})
    with pytest.raises(BadCheckpoint, match="could run code"):
        import_vit(path, head=16)
    assert not (tmp_path / "sprung").exists()
    whole = write(tmp_path / "last.ckpt", filled()).read_bytes()
    (tmp_path / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="truncated"):
        import_vit(tmp_path / "last.ckpt", head=16)


def test_on_the_command_line(workdir: Path, capsys: pytest.CaptureFixture[str]):
    tensors = filled()
    write(Path("last.ckpt"), tensors | loss())
    command = ["import", "vit", "last.ckpt", "vit", "--head", "16"]
    assert main(command) == 0
    assert "imported: vit (38,731 parameters)" in capsys.readouterr().err
    assert main(command) == 2
    assert main([*command, "--force"]) == 0
    assert main(["export", "vit", "vit", "out.ckpt", "--step", "3"]) == 0
    written = torch.load("out.ckpt", weights_only=True)
    assert written["global_step"] == 3
    assert all(torch.equal(written["state_dict"][n], tensors[n]) for n in tensors)
    assert main(["import", "vit", "last.ckpt", "other"]) == 2
    assert "no heads of 64 channels" in capsys.readouterr().err
    assert not Path("other").exists()
    codec = load("last.ckpt", kind="vit", head=16)
    assert codec.fingerprint == Codec.from_pretrained("vit").fingerprint


def own_codec(reading: str = "enhancing", weight: float = 0.0, **quantizer: Any) -> Codec:
    """As the settings of ours make it: the layers around the codes are the quantizer's."""
    both = {
        "name": "vit",
        "size": {"blocks": 1, "heads": 2, "width": 16, "hidden": 8},
        "reading": reading,
        "side": 16,
    }
    core = {"name": "vector", "codebook_size": 8, "start": {"by": "normal"}}
    space = {"dim": 4, "metric": "cosine"}
    config = {"room": "image", "rate": 1, "encoder": both, "decoder": both | {"laplace": {"weight": weight}}}
    return Codec.build(config | {"quantizer": core | {"space": space} | quantizer}).eval()


def test_one_trained_here_goes_out_and_comes_back(tmp_path: Path):
    codec = own_codec()
    export_vit(codec, tmp_path / "last.ckpt")
    again, picture = import_vit(tmp_path / "last.ckpt"), torch.rand(2, 3, 16, 16) * 2 - 1
    codes = codec.encode(picture)
    assert torch.equal(again.encode(picture).indices, codes.indices)
    assert torch.allclose(again.decode(codes), codec.decode(codes), atol=1e-6)


@pytest.mark.parametrize(
    "codec",
    [
        lambda: own_codec("paper"),
        lambda: own_codec(weight=0.1),
        lambda: own_codec(space={"dim": 4}),
        lambda: own_codec(space={"metric": "cosine"}),
        lambda: own_codec(name="residual", num_codebooks=1),
        lambda: own_codec(
            learning={"by": "gradient"}, space={"dim": 4, "metric": "cosine", "codes": "affine"}
        ),
    ],
)
def test_other_parts_are_refused_before_anything_is_written(tmp_path: Path, codec: Any):
    with pytest.raises(
        BadSetting, match="needs an encoder and a decoder 'vit' as in the reading 'enhancing'"
    ):
        export_vit(codec(), tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())
