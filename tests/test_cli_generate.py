"""``speechvq generate``: made-up speech in a voice, a recording gone on with, and refusals in sentences."""

from pathlib import Path

import pytest
import torch

from speechvq import Codec
from speechvq.cli import main
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.nets.wavenet import Stack
from speechvq.prior import PRIORS, Prior, Steering
from speechvq.serve.babble import Wish, babble
from speechvq.speech.audio import read_audio, write_audio

SIZES = {
    "transformer": Depth(layers=1, width=16, heads=2, reach=200),
    "wavenet": Stack(layers=2, stacks=1, residual=8, gate=8, skip=8, post=8),
}


@pytest.fixture(params=sorted(SIZES))
def prior(request: pytest.FixtureRequest, tiny_codec: Path, tmp_path: Path) -> Path:
    codec = Codec.from_pretrained(tiny_codec)
    made = PRIORS[request.param](
        32, size=SIZES[request.param], speakers=("kal", "slt"), speaker_dropout=0.1, codec=codec.fingerprint
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
    few = Prior.from_pretrained(prior).spec | {"speakers": ["kal"], "speaker_dropout": 0.0}
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
