"""What held-out pictures cost a prior: against one picture at a time, and at the command line."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq.cli import main
from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting
from speechvq.image.bits import bits_per_dim
from speechvq.image.data import open_corpus
from speechvq.nets.pixelcnn import Stacks
from speechvq.nets.transformer import Depth
from speechvq.prior import GPTPrior, PixelCNNPrior, Prior, ResidualPrior, TransformerPrior
from speechvq.prior.conditions import Given
from speechvq.prior.gpt_settings import Reading
from speechvq.prior.residual_settings import Sizes, Told
from speechvq.score.ngrams import Ngrams
from speechvq.score.prior_pictures import score_picture_prior
from speechvq.store.arrays import Kind, write_arrays

CLASSES = ("near", "far", "away")
STACKS = Stacks(layers=2, first=3, kernel=3, width=8, skip=8, post=8, condition=8)
DEPTH = Depth(layers=1, width=16, heads=2, reach=64)


def written(folder: Path, kinds: dict[str, Kind], names: tuple[str, ...]) -> None:
    draw = np.random.default_rng(0)
    with write_arrays(folder, {"train": 9, "valid": 3, "test": 5}, kinds, names={"label": names}) as arrays:
        for split in arrays.values():
            for i in range(len(split["picture"])):
                split["picture"][i] = draw.integers(0, 60, (3, 8, 12)) + 90 * (i % 3)
                if "label" in split:
                    split["label"][i] = i % 3
                    split["depth"][i] = draw.integers(0, 256, (1, 8, 12))


def built(kind: str, colours: int, **quantizer: object) -> Codec:
    part = {"name": kind, "size": "tiny"} | ({"colours": colours} if kind == "vqvae" else {})
    values = {"name": "vector", "codebook_size": 6, "start": {"by": "normal"}} | quantizer
    config = {"room": "image", "rate": 1, "encoder": part | {"dim": 8}, "decoder": part, "quantizer": values}
    return Codec.build(config)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of pictures with labels and depth (data), of others (bare, named), codecs, and priors."""
    folder = tmp_path_factory.mktemp("priors")
    told = {"label": Kind((), "int64"), "depth": Kind((1, 8, 12))}
    for name, kinds, names in (("data", told, CLASSES), ("bare", {}, ()), ("named", told, ("a", "b", "c"))):
        written(folder / name, {"picture": Kind((3, 8, 12)), **kinds}, names)
    torch.manual_seed(0)
    codecs = {
        "rgb": built("vqvae", 3),
        "stack": built("vqvae", 3, name="residual", num_codebooks=2),
        "grey": built("vqvae", 1),
        "gan": built("vqgan", 3),
    }
    for name, codec in codecs.items():
        codec.save_pretrained(folder / name)
    marks = {name: codec.fingerprint for name, codec in codecs.items()}
    given = (Given("label", 3, "label", names=CLASSES), Given("depth", 6, codec=marks["grey"]))
    here = {"size": Sizes(1, 1, width=16, heads=2), "codec": marks["stack"], "num_codebooks": 2}
    priors = {
        "pixelcnn": PixelCNNPrior(6, size=STACKS, labels=CLASSES, label_dropout=0.1, codec=marks["rgb"]),
        "gpt": GPTPrior(6, size=DEPTH, given=given, reading=Reading((2, 3)), codec=marks["rgb"]),
        "residual": ResidualPrior(6, grid=(2, 3), **here),
        "text": ResidualPrior(6, told=Told(words=5, length=2), **here),
        "of-gan": PixelCNNPrior(6, size=STACKS, codec=marks["gan"]),
        "speaker": TransformerPrior(6, size=DEPTH, speakers=("ann",), codec=marks["rgb"]),
    }
    for name, prior in priors.items():
        for weight in prior.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        prior.save_pretrained(folder / name)
    return folder


def opened(place: Path, prior: str, codec: str) -> tuple[Prior, Codec]:
    return Prior.from_pretrained(place / prior), Codec.from_pretrained(place / codec)


@pytest.mark.parametrize(
    ("name", "made_by", "told", "given"),
    [
        ("pixelcnn", "rgb", ("label",), ()),
        ("gpt", "rgb", ("label", "depth"), ("depth",)),
        ("residual", "stack", (), ()),
    ],
)
@torch.no_grad()
def test_scores_are_those_of_one_picture_at_a_time(
    place: Path, name: str, made_by: str, told: tuple[str, ...], given: tuple[str, ...]
):
    prior, codec = opened(place, name, made_by)
    grey = Codec.from_pretrained(place / "grey")
    corpus = open_corpus({"root": str(place / "data")})
    scores = score_picture_prior(prior, codec, corpus, codecs={"depth": grey} if given else {})
    rows, nats, uniform, whole = {"train": [], "test": []}, 0.0, [], []
    for split, found in rows.items():
        pictures = corpus.split(split, hop=4, still=True)
        for i in range(len(pictures)):
            batch = pictures.collate([pictures[0, i]])
            codes = codec.encode(batch.signal)
            found.append(prior.alphabet.tokens(codes)[0].numpy())
            if split == "test":
                depth = grey.encode(batch.condition["depth"]).indices
                known = {"label": batch.condition["label"], "depth": depth}
                nats += float(prior.loss(codes, known)) * codes.indices.numel()
                uniform.append(bits_per_dim(codec, batch.signal))
                whole.append(
                    bits_per_dim(codec, batch.signal, code_nats=partial(prior.nats, condition=known))
                )
    codes, classes = len(rows["test"][0]), math.log2(3) if told else 0.0
    assert (scores.pictures, scores.codes, scores.trained_codes) == (5, codes, 9 * codes)
    assert (scores.told, scores.given) == (told, given)
    assert scores.class_bits == pytest.approx(classes)
    assert (
        list(scores.bits) == list(scores.bits_per_dim) == ["uniform", "unigram", "bigram", "trigram", "prior"]
    )
    assert scores.bits["uniform"] == pytest.approx(math.log2(6))
    assert scores.bits["prior"] == pytest.approx(nats / (5 * codes) / math.log(2), abs=1e-6)
    assert [scores.bits[n] for n in ("unigram", "bigram", "trigram")] == pytest.approx(
        Ngrams(prior.alphabet, rows["train"]).bits(rows["test"])
    )
    assert scores.bits_per_dim["uniform"] == pytest.approx(float(torch.cat(uniform).mean()), abs=1e-6)
    assert scores.bits_per_dim["prior"] == pytest.approx(
        float(torch.cat(whole).mean()) + classes / (3 * 8 * 12), abs=1e-6
    )
    saved = scores.bits_per_dim["uniform"] - scores.bits_per_dim["bigram"]
    assert saved == pytest.approx(codes * (scores.bits["uniform"] - scores.bits["bigram"]) / (3 * 8 * 12))
    assert scores.plain()["nats"]["prior"] == pytest.approx(nats / (5 * codes), abs=1e-6)


def test_the_command_prints_and_writes(place: Path, tmp_path: Path, capsys):
    out = tmp_path / "a.json"
    asked = ["score", "prior", str(place / "gpt"), str(place / "data"), "--codec", str(place / "rgb")]
    asked += ["--told-codec", f"depth={place / 'grey'}", "--out", str(out)]
    assert main(asked) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("5 held-out pictures of 6 codes", "bits/dim", "prior, given depth", "nats per code"):
        assert words in shown
    prior, codec = opened(place, "gpt", "rgb")
    codecs = {"depth": Codec.from_pretrained(place / "grey")}
    scores = score_picture_prior(prior, codec, open_corpus({"root": str(place / "data")}), codecs=codecs)
    assert json.loads(out.read_text()) == json.loads(json.dumps(scores.plain()))
    assert main(asked) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*asked, "--force", "--split", "valid"]) == 0
    assert "3 held-out pictures" in capsys.readouterr().out
    asked = ["score", "prior", str(place / "of-gan"), str(place / "bare"), "--codec", str(place / "gan")]
    assert main([*asked, "--size", "16", "--out", str(tmp_path / "b.json")]) == 0
    assert "bits/dim" not in capsys.readouterr().out
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["bits_per_dim"] == {}
    assert found["told"] == []
    assert found["codes"] == math.prod(codec_grid(place / "gan", (16, 16)))


def test_a_grey_codec_sees_them_grey(place: Path, tmp_path: Path):
    mark = Codec.from_pretrained(place / "grey").fingerprint
    PixelCNNPrior(6, size=STACKS, codec=mark).save_pretrained(tmp_path / "prior")
    asked = ["score", "prior", str(tmp_path / "prior"), str(place / "data"), "--codec", str(place / "grey")]
    assert main([*asked, "--out", str(tmp_path / "a.json")]) == 0
    prior, codec = Prior.from_pretrained(tmp_path / "prior"), Codec.from_pretrained(place / "grey")
    corpus = open_corpus({"root": str(place / "data"), "channels": 1})
    scores = score_picture_prior(prior, codec, corpus)
    assert json.loads((tmp_path / "a.json").read_text())["bits"] == scores.bits


def codec_grid(folder: Path, size: tuple[int, int]) -> tuple[int, ...]:
    return Codec.from_pretrained(folder).encoder.grid(size)


@pytest.mark.parametrize(
    ("prior", "data", "codec", "flags", "said"),
    [
        ("pixelcnn", "data", "stack", "", "trained on the codes of another codec"),
        ("pixelcnn", "bare", "rgb", "", "is told label, and these pictures come with nothing else"),
        ("pixelcnn", "named", "rgb", "", "knows the labels near, far, away, and these pictures have others"),
        ("pixelcnn", "data", "rgb", "--told-codec depth=grey", "is told no codes of depth"),
        (
            "pixelcnn",
            "data",
            "rgb",
            "--size 10",
            "10 x 10 pixels do not divide into codes of 4 pixels a side; give --size",
        ),
        ("pixelcnn", "rgb", "rgb", "", "has no pictures"),
        ("pixelcnn", "data", "rgb", "--split train", "held-out split"),
        ("gpt", "data", "rgb", "", "whose codes of depth? give --told-codec depth=FOLDER"),
        ("gpt", "data", "rgb", "--told-codec depth=rgb", "told in the codes of another codec"),
        ("gpt", "data", "rgb", "--told-codec depth", "not of the form NAME="),
        ("text", "data", "stack", "", "is told text, and these pictures come with label, depth"),
        ("speaker", "data", "rgb", "", "pictures have no voice"),
        ("of-gan", "data", "gan", "--told-codec label=grey", "is told no codes of label"),
    ],
)
def test_bad_input_is_a_sentence(
    place: Path, monkeypatch, tmp_path: Path, capsys, prior: str, data: str, codec: str, flags: str, said: str
):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    out = tmp_path / "out.json"
    asked = ["score", "prior", prior, data, "--codec", codec, "--out", str(out), *flags.split()]
    assert main(asked) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown
    assert "Traceback" not in shown
    assert not out.exists()
    assert sorted(place.rglob("*")) == before


def test_pictures_and_splits_that_are_not_there(place: Path, tmp_path: Path, capsys):
    (tmp_path / "codes.jsonl").write_text("")
    asked = ["score", "prior", str(place / "pixelcnn"), str(tmp_path / "codes.jsonl")]
    assert main([*asked, "--codec", str(place / "rgb"), "--size", "8"]) == 2
    assert "are for a folder of pictures" in " ".join(capsys.readouterr().err.split())
    prior, codec = opened(place, "of-gan", "gan")
    with pytest.raises(BadSetting, match="sees 3 channels, and the pictures have 1"):
        score_picture_prior(prior, codec, open_corpus({"root": str(place / "data"), "channels": 1}))
    with write_arrays(tmp_path / "few", {"train": 2, "valid": 1}, {"picture": Kind((3, 16, 16))}):
        pass
    with pytest.raises(BadSetting, match="no pictures of the split test; it has train, valid"):
        score_picture_prior(prior, codec, open_corpus({"root": str(tmp_path / "few")}))
    assert isinstance(codec.encode(torch.zeros(1, 3, 16, 16)), Codes)
