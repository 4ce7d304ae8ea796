"""``speechvq generate``: made-up speech in a voice, a recording gone on with, and refusals in sentences."""

from pathlib import Path

import pytest
import torch

from speechvq import Codec
from speechvq.cli import main
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.nets.wavenet import Stack
from speechvq.prior import PRIORS, Prior, ResidualPrior, Steering
from speechvq.prior.residual_settings import Sizes, Told
from speechvq.serve.babble import Wish, babble
from speechvq.serve.dream import Dream, dream
from speechvq.speech.audio import read_audio, write_audio

SIZES = {
    "transformer": Depth(layers=1, width=16, heads=2, reach=200),
    "residual": Sizes(places=1, depths=1, width=16, heads=2),
    "wavenet": Stack(layers=2, stacks=1, residual=8, gate=8, skip=8, post=8),
}


@pytest.fixture(params=sorted(SIZES))
def prior(request: pytest.FixtureRequest, tiny_codec: Path, tmp_path: Path) -> Path:
    codec = Codec.from_pretrained(tiny_codec)
    dropout = {"told": Told(blind=0.1)} if request.param == "residual" else {"speaker_dropout": 0.1}
    made = PRIORS[request.param](
        32, size=SIZES[request.param], speakers=("kal", "slt"), codec=codec.fingerprint, **dropout
    )
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    made.save_pretrained(tmp_path / "prior")
    return tmp_path / "prior"


def ask(prior: Path, codec: Path, out: Path, *flags: str) -> int:
    flags = ("--speaker", "slt", "--seconds", "0.4", *flags)
    return main(["generate", str(prior), "--codec", str(codec), "--out", str(out), *flags])


def test_flags_are_heard(prior: Path, tiny_codec: Path, tmp_path: Path):
    asked = {
        "plain": [], "again": [], "seed": ["--seed", "1"], "calm": ["--temperature", "0.1"],
        "few": ["--top-k", "1"], "likely": ["--top-p", "0.2"], "guided": ["--guidance", "3"],
        "varied": ["--max-run", "1", "--penalty", "5", "--no-repeat", "2"], "other": ["--speaker", "kal"],
    }  # fmt: skip
    for name, flags in asked.items():
        assert ask(prior, tiny_codec, tmp_path / f"{name}.wav", *flags) == 0
    sounds = {name: read_audio(tmp_path / f"{name}.wav") for name in asked}
    assert sounds["plain"].shape == (1, 6400)
    assert torch.equal(sounds.pop("again"), sounds["plain"])
    for name in set(sounds) - {"plain"}:
        assert not torch.equal(sounds[name], sounds["plain"]), name


def test_several_are_numbered_and_differ(prior: Path, tiny_codec: Path, tmp_path: Path):
    assert ask(prior, tiny_codec, tmp_path / "some.wav", "--count", "3") == 0
    sounds = [read_audio(tmp_path / f"some-{i}.wav") for i in (1, 2, 3)]
    assert not torch.equal(sounds[0], sounds[1])
    assert not (tmp_path / "some.wav").exists()


def test_a_recording_is_gone_on_with(prior: Path, tiny_codec: Path, tmp_path: Path):
    write_audio(tmp_path / "in.wav", 0.2 * torch.randn(1, 8000), 16000)
    assert ask(prior, tiny_codec, tmp_path / "more.wav", "--continue", str(tmp_path / "in.wav")) == 0
    assert read_audio(tmp_path / "more.wav").shape[1] == 8000 + 6400
    codec, model = Codec.from_pretrained(tiny_codec), Prior.from_pretrained(prior)
    wish = Wish("slt", 0.4, Sampling(seed=2), Steering())
    (codes,) = babble(model, codec, [tmp_path / "b.wav"], wish, recording=tmp_path / "in.wav")
    given = codec.encode(read_audio(tmp_path / "in.wav")[None]).indices
    assert torch.equal(codes.indices[:, :, : given.shape[2]], given)
    assert codes.indices.shape[2] == given.shape[2] + 20


def test_without_a_speaker_those_of_the_prior_are_named(
    prior: Path, tiny_codec: Path, tmp_path: Path, capsys
):
    asked = ["generate", str(prior), "--codec", str(tiny_codec), "--out", str(tmp_path / "no.wav")]
    assert main(asked) == 2
    assert "one of kal, slt" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "no.wav").exists()


def test_refusals_are_sentences(prior: Path, tiny_codec: Path, tmp_path: Path, capsys):
    def refused(words: str, *flags: str, model: Path = prior) -> None:
        assert ask(model, tiny_codec, tmp_path / "no.wav", *flags) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "no.wav").exists()

    refused("no voice called 'eve'", "--speaker", "eve")
    refused("more than 0", "--seconds", "0")
    refused("top_p", "--top-p", "2")
    refused("in.wav", "--continue", str(tmp_path / "in.wav"))
    few = Prior.from_pretrained(prior).spec | {"speakers": ["kal"]}
    few |= {"told": {}} if few["name"] == "residual" else {"speaker_dropout": 0.0}
    PRIORS.build(few).save_pretrained(tmp_path / "few")
    refused("no speaker of this prior called 'slt'", model=tmp_path / "few")
    refused("never trained without", "--guidance", "2", "--speaker", "kal", model=tmp_path / "few")
    PRIORS.build(few | {"codec": "0" * 16}).save_pretrained(tmp_path / "other")
    refused("codes of another codec", "--speaker", "kal", model=tmp_path / "other")
    (tmp_path / "there.wav").write_bytes(b"mine")
    assert ask(prior, tiny_codec, tmp_path / "there.wav") == 2
    assert (tmp_path / "there.wav").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "flags",
    [
        "--size 8",
        "--grid 2",
        "--label a",
        "--told depth=a.png",
        "--told-codec depth=a",
        "--rows 1",
        "--sheet",
    ],
)
def test_what_is_of_pictures_is_left_out(tiny_codec: Path, tmp_path: Path, capsys, flags: str):
    PRIORS["wavenet"](32, size=SIZES["wavenet"]).save_pretrained(tmp_path / "prior")
    assert ask(tmp_path / "prior", tiny_codec, tmp_path / "no.wav", *flags.split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{flags.split()[0]} is for pictures, and this codec is of speech; leave it out" in said
    assert not (tmp_path / "no.wav").exists()


DEEP = {"name": "residual", "codebook_size": 9, "num_codebooks": 3, "start": {"by": "normal"}}


def stack_of(folder: Path, room: str, **told: object) -> tuple[Path, Path]:
    """Folders of a codec of residual codes and of a prior for them, in the room's smallest."""
    parts = {
        "encoder": {"name": "mel", "dim": 6, "channels": 8, "dilations": [1]},
        "decoder": {"name": "spectral", "size": "tiny", "speakers": ["slt"]},
    }
    if room == "image":
        parts = {name: {"name": "vqvae", "size": "tiny"} for name in parts}
        parts["encoder"]["dim"] = 6
    codec = Codec.build({"room": room, "rate": 16000 if room == "speech" else 1, "quantizer": DEEP} | parts)
    more = {"num_codebooks": 3, "channels": 6, "shared": False, "size": SIZES["residual"]} | told
    prior = ResidualPrior(9, codec=codec.fingerprint, **more)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    prior.take(torch.stack([book.codes() for book in codec.quantizer.codebooks]))
    codec.save_pretrained(folder / "codec")
    prior.save_pretrained(folder / "prior")
    return folder / "codec", folder / "prior"


def test_each_depth_is_drawn_in_its_own_way(tmp_path: Path, capsys):
    codec, prior = stack_of(tmp_path, "speech", speakers=("slt",))

    def made(name: str, *flags: str) -> torch.Tensor:
        assert ask(prior, codec, tmp_path / f"{name}.wav", *flags) == 0
        return read_audio(tmp_path / f"{name}.wav")

    plain = made("plain")
    assert torch.equal(made("alike", "--top-k", "0,0,0", "--temperature", "1"), plain)
    assert torch.equal(made("calm", "--temperature", "0"), made("each", "--top-k", "1,1,1"))
    some = [made(str(i), "--top-k", k, "--top-p", "1") for i, k in enumerate(("1,0,0", "0,1,0", "0,0,1"))]
    assert not any(torch.equal(a, b) for i, a in enumerate([plain, *some]) for b in some[i:])
    wish = Wish("slt", 0.4, (Sampling(top_k=1), Sampling(temperature=3.0), Sampling(top_k=1)), Steering())
    codec, model = Codec.from_pretrained(codec), Prior.from_pretrained(prior)
    (codes,) = babble(model, codec, [tmp_path / "by_hand.wav"], wish)
    alone = model.logits(codes, {"speaker": torch.tensor([0])})
    for book in (0, 2):
        assert torch.equal(alone[:, book].argmax(-1), codes.indices[:, book])
    assert not torch.equal(alone[:, 1].argmax(-1), codes.indices[:, 1])


def test_depths_that_do_not_fit_are_refused(tiny_codec: Path, tmp_path: Path, capsys):
    PRIORS["wavenet"](32, size=SIZES["wavenet"]).save_pretrained(tmp_path / "wavenet")
    deep_codec, deep = stack_of(tmp_path / "deep", "speech", speakers=("slt",))

    def refused(words: str, model: Path, codec: Path, *flags: str) -> None:
        assert ask(model, codec, tmp_path / "no.wav", *flags) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "no.wav").exists()

    refused("codes of all codebooks alike", tmp_path / "wavenet", tiny_codec, "--top-k", "3,4")
    refused("2 ways to draw are given for 3 codebooks", deep, deep_codec, "--top-k", "3,4")
    refused("numbers do not go together", deep, deep_codec, "--top-k", "3,4", "--top-p", "1,1,1")
    refused("--top-k few is not a whole number", deep, deep_codec, "--top-k", "few")
    refused("--temperature 1,, is not a number", deep, deep_codec, "--temperature", "1,,")
    refused("codes of another codec", deep, tiny_codec)
    spec = Prior.from_pretrained(deep).spec | {"codec": "", "channels": 0}
    PRIORS.build(spec | {"num_codebooks": 4}).save_pretrained(tmp_path / "four")
    refused("decodes (batch, k, *grid) with k from 1 to 3", tmp_path / "four", deep_codec)


def test_of_learned_places_as_much_as_there_is(tmp_path: Path, capsys):
    codec, prior = stack_of(tmp_path, "speech", speakers=("slt",), grid=(15,))
    asked = ["generate", str(prior), "--codec", str(codec), "--speaker", "slt", "--out"]
    assert main([*asked, str(tmp_path / "all.wav")]) == 0
    assert read_audio(tmp_path / "all.wav").shape[1] == 15 * 320
    assert main([*asked, str(tmp_path / "more.wav"), "--seconds", "0.4"]) == 2
    assert "does not fit in the grid (15,)" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "more.wav").exists()


def test_pictures_of_a_stack_by_class(tmp_path: Path, capsys):
    codec, prior = stack_of(tmp_path, "image", labels=("near", "far"), grid=(3, 2), told=Told(blind=0.1))
    asked = ["generate", str(prior), "--codec", str(codec), "--out"]

    def refused(words: str, *flags: str) -> None:
        assert main([*asked, str(tmp_path / "no.png"), *flags]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "no.png").exists()

    flags = ["--label", "far", "--guidance", "2", "--top-k", "4,0,1"]
    assert main([*asked, str(tmp_path / "a.png"), *flags]) == 0
    wish = Dream(label="far", sampling=Sampling(), steering=Steering(guidance=2.0))
    found = dream(Prior.from_pretrained(prior), Codec.from_pretrained(codec), [tmp_path / "b.png"], wish)
    wanted = Prior.from_pretrained(prior).generate(
        (3, 2), {"label": torch.tensor([1])}, steering=Steering(guidance=2.0)
    )
    assert torch.equal(found.indices, wanted.indices)
    assert main([*asked, str(tmp_path / "small.png"), "--label", "near", "--grid", "2"]) == 0
    start = ["--continue", str(tmp_path / "a.png"), "--rows", "1", "--label", "near"]
    assert main([*asked, str(tmp_path / "more.png"), *start]) == 0
    refused("which label? give --label with one of near, far")
    refused("does not fit in the grid (3, 2)", "--label", "near", "--grid", "4x4")
    refused("does not fit in the grid (3, 2)", "--label", "near", "--grid", "2x3")
    refused("no label called 'here'", "--label", "here")
