"""A published RQ-VAE and the RQ-Transformer of its codes, from files to folders and back."""

from pathlib import Path

import pytest
import torch

from speechvq.bridge import load
from speechvq.bridge.rqvae_export import export_rqvae
from speechvq.cli import main
from speechvq.codec import Codec, Codes
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.image.data import in_range
from speechvq.image.files import read_picture
from speechvq.prior import Prior
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.transformer import TransformerPrior

from .rqvae_prior_published import Published
from .rqvae_published import RQVAE, TINY, tensors, write


@pytest.fixture
def desk(workdir: Path) -> Path:
    """The tiny RQ-VAE as a folder, and the file of a transformer."""
    write(Path("vae"), tensors(), TINY.yaml())
    assert main(["import", "rqvae", "vae/model.pt", "codec"]) == 0
    made = Published()
    write(Path("net"), made.tensors(), {"arch": made.arch()}, state_dict_ema=made.tensors())
    return workdir


def test_a_transformer_there_and_back(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "rqvae", "net/model.pt", "prior"]
    assert main(command) == 2
    assert "needs the codebook of its RQ-VAE" in " ".join(capsys.readouterr().err.split())
    assert not Path("prior").exists()
    assert main([*command, "--codec", "codec"]) == 0
    assert "imported: prior (" in capsys.readouterr().err
    prior, codec = Prior.from_pretrained("prior"), Codec.from_pretrained("codec")
    assert isinstance(prior, ResidualPrior)
    assert torch.equal(prior.vectors[0], codec.quantizer.codebooks[0].vectors)
    assert prior.codec == codec.fingerprint
    codes = (7 * torch.arange(24) % 16).reshape(2, 2, 2, 3).movedim(-1, 1)
    loss = prior.eval().loss(Codes(codes), {"label": torch.tensor([1, 4])})
    assert loss.item() == pytest.approx(2.8411435154, abs=1e-4)
    Path("out").mkdir()
    assert main(["export", "rqvae", "prior", "out/model.pt", "--config", "out/config.yaml"]) == 0
    found, wanted = (
        torch.load(f"{name}/model.pt", weights_only=True)["state_dict"] for name in ("out", "net")
    )
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    again = load("out/model.pt", kind="rqvae", codec="codec")
    assert again.spec == prior.spec


def test_pictures_are_made_up_from_published_files(desk: Path) -> None:
    """Two files in, one picture out: at temperature 0 that of the likeliest code, one after the other."""
    assert main(["import", "rqvae", "net/model.pt", "prior", "--codec", "codec"]) == 0
    asked = ["generate", "prior", "--codec", "codec", "--label", "3"]
    assert main([*asked, "--out", "made.png", "--temperature", "0"]) == 0
    prior, codec = Prior.from_pretrained("prior"), Codec.from_pretrained("codec")
    assert isinstance(prior, ResidualPrior)
    codes, told = torch.zeros(1, 3, 2, 2, dtype=torch.int64), {"label": torch.tensor([3])}
    with torch.no_grad():
        for place in range(4):
            for book in range(3):
                at = (0, book, place // 2, place % 2)
                codes[at] = prior.logits(Codes(codes), told)[at].argmax()
        wanted = codec.decode(Codes(codes))
    found = in_range(torch.from_numpy(read_picture(Path("made.png"), channels=3).copy()))
    assert (found - wanted[0]).abs().max() <= 1.01 / 255
    several = ["--top-k", "9,5,2", "--top-p", "0.92", "--sheet", "--count", "5"]
    assert main([*asked, "--out", "drawn.png", *several]) == 0
    assert main([*asked, "--out", "no.png", "--top-k", "9,5"]) == 2
    assert not Path("no.png").exists()


def test_averaged_weights_are_those_of_their_part(desk: Path) -> None:
    made = Published()
    other = made.tensors()
    other["cond_emb.weight"] += 1
    write(Path("net"), made.tensors(), {"arch": made.arch()}, state_dict_ema=other)
    priors = [load("net/model.pt", kind="rqvae", codec="codec", averaged=part) for part in (False, True)]
    plain, averaged = (prior.state_dict()["label.table.weight"] for prior in priors)
    torch.testing.assert_close(averaged, plain + 1)


def test_a_transformer_of_another_codec_is_refused(desk: Path) -> None:
    write(Path("other"), tensors(RQVAE(codes=8)))
    codec = load("other/model.pt", kind="rqvae")
    with pytest.raises(BadCheckpoint, match=r"the codebooks are \(1, 8, 8\)"):
        load("net/model.pt", kind="rqvae", codec=codec)
    config = codec.config | {"quantizer": {"name": "vector", "codebook_size": 8}}
    with pytest.raises(BadSetting, match="must be an RQ-VAE, with a residual quantizer"):
        load("net/model.pt", kind="rqvae", codec=Codec.build(config))
    Path("net/config.yaml").unlink()
    with pytest.raises(BadCheckpoint, match="of which tensors do not tell all: give its yaml"):
        load("net/model.pt", kind="rqvae", codec="codec")


def test_only_its_own_kind_of_prior_is_exported(desk: Path) -> None:
    with pytest.raises(BadSetting, match="none of the kind 'residual'"):
        export_rqvae(TransformerPrior(16, size="tiny"), "out.pt")
    assert not Path("out.pt").exists()
