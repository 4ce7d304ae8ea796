"""``speechvq import taming`` and ``export taming`` as a person meets them, and yamls of all kinds."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechvq.bridge.taming import Net2Net, import_taming
from speechvq.bridge.taming_config import read_config
from speechvq.cli import main
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint

from .taming_published import GUMBEL, TINY, filled, net2net, transformer, vqgan, write, write_yaml


@pytest.fixture
def desk(workdir: Path) -> Path:
    write(Path("vqgan.ckpt"), filled(vqgan(TINY)))
    write_yaml(Path("vqgan.yaml"), TINY.yaml())
    write(Path("net.ckpt"), net2net(reach=31))
    write(Path("class.ckpt"), net2net(False, reach=31))
    write_yaml(Path("net.yaml"), transformer(TINY.yaml(), reach=31))
    told = {"target": "taming.modules.util.Labelator", "params": {"n_classes": 10}}
    write_yaml(Path("class.yaml"), transformer(told, reach=31))
    return workdir


def same(first: str, second: str) -> bool:
    a, b = (torch.load(name, weights_only=True)["state_dict"] for name in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_there_and_back(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "taming", "vqgan.ckpt", "codec", "--config", "vqgan.yaml"]
    assert main(command) == 0
    assert "imported: codec (" in capsys.readouterr().err
    assert "vqgan.ckpt" in Path("codec/README.md").read_text()
    codec = Codec.from_pretrained("codec")
    assert codec.encode(torch.rand(1, 3, 16, 12)).indices.shape == (1, 1, 8, 6)
    assert main(command) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    out = ["export", "taming", "codec", "out.ckpt", "--config", "out.yaml", "--step", "9"]
    assert main(out) == 0
    assert same("vqgan.ckpt", "out.ckpt")
    assert torch.load("out.ckpt", weights_only=True)["global_step"] == 9
    Path("out.ckpt").unlink()
    assert main(out) == 2  # the yaml is still there, so nothing is written
    assert "out.yaml is already there" in capsys.readouterr().err
    assert not Path("out.ckpt").exists()
    assert main([*out, "--force"]) == 0


def test_tensors_with_nothing_around_them_will_do(desk: Path) -> None:
    torch.save(torch.load("vqgan.ckpt", weights_only=True)["state_dict"], "bare.ckpt")
    for name in ("vqgan", "bare"):
        assert main(["import", "taming", f"{name}.ckpt", f"{name}_codec", "--config", "vqgan.yaml"]) == 0
    one, other = (load_file(f"{name}_codec/model.safetensors") for name in ("vqgan", "bare"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_transformer_there_and_back(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "taming", "net.ckpt", "net", "--heads", "4"]) == 0
    assert sorted(path.name for path in Path("net").iterdir()) == ["codec", "condition", "prior"]
    assert Net2Net.from_pretrained("net").prior.net.depth.heads == 4
    command = ["import", "taming", "class.ckpt", "net", "--config", "class.yaml"]
    assert main(command) == 2
    assert "net/prior is already there" in capsys.readouterr().err
    assert main([*command, "--force"]) == 2
    assert "net/condition holds a model that this one has no part for" in capsys.readouterr().err
    assert main(["export", "taming", "net", "out.ckpt"]) == 0
    assert same("net.ckpt", "out.ckpt")
    assert main(["export", "taming", "net/prior", "no.ckpt"]) == 2
    assert "net/prior is a prior alone" in capsys.readouterr().err
    for part, said in (("condition", "in the codes of another codec"), ("codec", "codes of another codec")):
        weights = load_file(f"net/{part}/model.safetensors")
        shutil.copytree("net", f"net-{part}")
        weights["encoder.leave.bias"] += 1
        save_file(weights, f"net-{part}/{part}/model.safetensors")
        assert main(["export", "taming", f"net-{part}", "no.ckpt"]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("no.ckpt").exists()


def test_what_else_lies_in_the_folder_is_not_replaced(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/README.md").write_text("mine")
    command = ["import", "taming", "vqgan.ckpt", "mine"]
    assert main(command) == 2
    assert "mine/README.md is already there" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["README.md"]
    assert Path("mine/README.md").read_text() == "mine"
    assert main([*command, "--force"]) == 0


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["import", "taming", "none.ckpt", "x"], "none.ckpt is not there"),
        (["import", "taming", "vqgan.yaml", "x"], "not a torch checkpoint"),
        (["import", "taming", "vqgan.ckpt", "x", "--config", "none.yaml"], "none.yaml is not there"),
        (["import", "taming", "vqgan.ckpt", "x", "--config", "net.yaml"], "net.yaml is not of a VQGAN"),
        (["import", "taming", "net.ckpt", "x", "--config", "vqgan.yaml"], "is not of a transformer"),
        (["import", "taming", "net.ckpt", "x"], "or the number of heads (--heads)"),
        (
            ["import", "taming", "class.ckpt", "x", "--heads", "4"],
            "does not say what its transformer is told",
        ),
        (["import", "taming", "vqgan.ckpt", "x", "--heads", "4"], "has no heads to choose"),
        (["import", "taming", "vqgan.ckpt", "net.yaml"], "net.yaml is a file"),
        (["export", "taming", "x", "out.ckpt"], "not a model folder"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    desk: Path, capsys: pytest.CaptureFixture[str], command: list[str], sentence: str
) -> None:
    before = sorted(path.name for path in desk.iterdir())
    assert main(command) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in desk.iterdir()) == before


@pytest.mark.parametrize("verb", ["import", "export"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "taming", "--help"]) == 0
    assert f"Example: speechvq {verb} taming" in " ".join(capsys.readouterr().out.split())


def changed(model: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """A yaml's model with one value replaced, or taken out if it becomes None."""
    first, *rest = path
    value = changed(model[first], *rest, to=to) if rest else to
    return {**model, first: value} if value is not None else {k: v for k, v in model.items() if k != first}


SIZES = ("params", "ddconfig")
NET = transformer(TINY.yaml(), reach=31)
GPT = ("params", "transformer_config")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (changed(TINY.yaml(), "target", to="os.system"), "'os.system', which is not known here and was not"),
        (changed(TINY.yaml(), "target", to=None), "model names no class"),
        (changed(TINY.yaml(), "params", to=[1]), "the params of model are no mapping"),
        (changed(TINY.yaml(), *SIZES, to=None), "has no ddconfig"),
        (changed(TINY.yaml(), *SIZES, "ch", to=None), "does not say ch"),
        (changed(TINY.yaml(), *SIZES, "ch", to="${oc.env:HOME}"), "not a whole number"),
        (changed(TINY.yaml(), *SIZES, "ch", to=32.5), "ch is 32.5, not a whole number"),
        (changed(TINY.yaml(), *SIZES, "ch_mult", to=[1, True]), "not a list of whole numbers"),
        (changed(TINY.yaml(), *SIZES, "ch_mult", to=[1, 2]), r"says ch_mult \(1, 2\), but .* \(1, 1\)"),
        (changed(TINY.yaml(), *SIZES, "attn_resolutions", to=[16]), r"says attn_resolutions \(16,\), but"),
        (changed(TINY.yaml(), *SIZES, "dropout", to=1.5), "the dropout is 1.5"),
        (changed(TINY.yaml(), "params", "n_embed", to=65), "says n_embed 65, but .* tensors for 64"),
        (TINY.yaml(remap="used.npy"), "numbered anew"),
        (changed(TINY.yaml(), "target", to="taming.models.vqgan.GumbelVQ"), "has a vector one"),
    ],
)
def test_yamls_of_another_model(tmp_path: Path, model: dict[str, Any], sentence: str) -> None:
    path, config = write(tmp_path / "m.ckpt", filled(vqgan(TINY))), write_yaml(tmp_path / "m.yaml", model)
    with pytest.raises(BadCheckpoint, match=sentence):
        import_taming(path, config=config)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (changed(NET, *GPT, "target", to="os.system"), "transformer_config is of the class 'os.system'"),
        (changed(NET, *GPT, "params", "n_layer", to=3), "says n_layer 3, but .* tensors for 2"),
        (changed(NET, *GPT, "params", "n_head", to=None), "does not say n_head"),
        (changed(NET, *GPT, "params", "n_unmasked", to=3), "see one another, not 3"),
        (changed(NET, "params", "first_stage_config", "target", to="x.Y"), "first_stage_config is of the cl"),
        (changed(NET, "params", "cond_stage_config", "target", to="x.Y"), "cond_stage_config is of the cla"),
        (changed(NET, "params", "cond_stage_config", to="__is_new__"), "cond_stage_config names no class"),
        (changed(NET, "params", "cond_stage_config", to=GUMBEL.yaml()), "but .* has tensors for"),
        (changed(NET, "params", "permuter_config", to={"target": "x.Y"}), "permuter_config is of the class"),
        (changed(NET, "params", "pkeep", to=0.0), "keep is 0.0"),
    ],
)
def test_yamls_of_another_transformer(tmp_path: Path, model: dict[str, Any], sentence: str) -> None:
    path, config = write(tmp_path / "m.ckpt", net2net(reach=31)), write_yaml(tmp_path / "m.yaml", model)
    with pytest.raises(BadCheckpoint, match=sentence):
        import_taming(path, config=config)


@pytest.mark.parametrize("text", ["model: [", "- 1\n- 2\n", "", "model: {target: a, target", "\x00"])
def test_what_is_no_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(BadCheckpoint, match="m.yaml"):
        read_config(tmp_path / "m.yaml")
