"""--seed, --temperature, --top-k, --top-p: heard by a decoder that samples, refused by one that does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from speechvq import Codec
from speechvq.cli import main
from speechvq.image.stacked import stack
from speechvq.nets.sampling import Draws, Sampling
from speechvq.speech.audio import read_audio, write_audio


@pytest.fixture
def sampling_codec(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    codec = Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": {"name": "strided", "dim": 8, "channels": 8},
            "quantizer": {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}},
            "decoder": {"name": "wavenet", "speakers": ["a", "b"], "stack": "tiny"},
        }
    )
    codec.save_pretrained(tmp_path / "codec")
    write_audio(tmp_path / "in.wav", 0.2 * torch.randn(1, 1600), 16000)
    return tmp_path


def test_temperature_and_top_k_change_what_is_drawn(sampling_codec: Path) -> None:
    folder = sampling_codec
    asked = {"plain": [], "again": [], "calm": ["--temperature", "0.3"], "few": ["--top-k", "2"]}
    asked |= {"likely": ["--top-p", "0.1"], "other": ["--seed", "1"]}
    for name, flags in asked.items():
        outcome = main(
            ["convert", str(folder / "in.wav"), str(folder / f"{name}.wav"), "-s", "b",
             "--codec", str(folder / "codec"), *flags]
        )  # fmt: skip
        assert outcome == 0
    sounds = {name: read_audio(folder / f"{name}.wav") for name in asked}
    assert torch.equal(sounds["plain"], sounds["again"])
    for name in ("calm", "few", "likely", "other"):
        assert not torch.equal(sounds["plain"], sounds[name])


def test_a_decoder_that_does_not_sample_says_so(
    tiny_codec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_audio(tmp_path / "in.wav", 0.2 * torch.randn(1, 8000), 16000)
    voice = Codec.from_pretrained(tiny_codec).decoder.speakers[0]
    outcome = main(
        ["convert", str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "-s", voice,
         "--codec", str(tiny_codec), "--temperature", "0.5"]
    )  # fmt: skip
    assert outcome == 2
    assert "does not sample" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


@pytest.fixture
def drawing_codec(workdir: Path) -> Codec:
    """A second codec on the codes of a first, in folders "two" and "one", and a picture of its size."""
    part = {"name": "vqvae", "colours": 1, "size": "tiny"}
    quantizer = {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}}
    parts = {"encoder": part | {"dim": 8}, "quantizer": quantizer, "decoder": part}
    first = Codec.build({"room": "image", "rate": 1} | parts)
    first.save_pretrained("one")
    stacks = {"layers": 2, "first": 3, "kernel": 3, "width": 8, "skip": 8, "post": 8, "condition": 8}
    quantizer = {"name": "grouped", "groups": 3, "codebook_size": 8}
    parts = {"encoder": {"dim": 12, "channels": 8}, "decoder": {"dim": 12, "stacks": stacks}}
    codec = stack(first, (5, 7), quantizer=quantizer, **parts)
    codec.save_pretrained("two")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 28)).astype(np.uint8)).save("in.png")
    return codec.eval()


def pixels(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path)))


def test_pictures_that_are_drawn_are_chosen_by_the_same_flags(drawing_codec: Codec) -> None:
    codec = ["--codec", "two"]
    assert isinstance(drawing_codec.decoder, Draws)
    assert main(["encode", "in.png", "codes/a.svq", *codec]) == 0
    assert main(["encode", "in.png", "codes/b.svq", *codec]) == 0
    few = drawing_codec.encode(pixels("in.png")[None, None] / 127.5 - 1)
    asked = {
        "plain": ([], Sampling()),
        "again": (["--seed", "0"], Sampling()),
        "other": (["--seed", "7"], Sampling(seed=7)),
        "calm": (["--temperature", "0.5"], Sampling(0.5)),
        "few": (["--top-k", "2", "--seed", "7"], Sampling(top_k=2, seed=7)),
        "likely": (["--top-p", "0.2"], Sampling(top_p=0.2)),
    }
    for name, (flags, sampling) in asked.items():
        assert main(["decode", "codes", name, *codec, *flags]) == 0
        made = ((drawing_codec.decode(few, sampling=sampling)[0, 0] + 1) * 127.5).round().byte()
        assert torch.equal(pixels(f"{name}/a.png"), made)
        assert torch.equal(pixels(f"{name}/b.png"), made)  # whatever lies beside it
    drawn = {pixels(f"{name}/a.png").numpy().tobytes() for name in asked}
    assert len(drawn) == len(asked) - 1


def test_dreams_of_a_codec_that_draws_hear_the_seed(drawing_codec: Codec) -> None:
    """Where the prior has no choice, for its one code of each codebook is a thousand times likelier."""
    from speechvq.prior import PixelCNNPrior

    prior = PixelCNNPrior(8, num_codebooks=3, size="tiny", codec=drawing_codec.fingerprint)
    with torch.no_grad():
        prior.leave.last.bias.view(3, 8)[:, 2] += 100
    prior.save_pretrained("prior")
    asked = ["generate", "prior", "--codec", "two", "--grid", "1"]
    for name in ("0", "1", "2"):
        assert main([*asked, "--out", f"{name}.png", "--seed", name[0]]) == 0
    assert main([*asked, "--out", "again.png", "--seed", "1"]) == 0
    assert torch.equal(pixels("1.png"), pixels("again.png"))
    assert len({pixels(f"{name}.png").numpy().tobytes() for name in "012"}) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", "1"], "(vqvae) does not sample; leave --seed out"),
        (["--temperature", "1", "--top-p", "0.5"], "does not sample; leave --temperature and --top-p out"),
    ],
)
def test_pictures_that_are_not_drawn_have_no_seed(
    drawing_codec: Codec, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["encode", "in.png", "a.svq", "--codec", "one"]) == 0
    assert main(["decode", "a.svq", "out.png", "--codec", "one", *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("out.png").exists()
    assert main(["encode", "in.png", "b.svq", "--codec", "two"]) == 0
    assert main(["decode", "b.svq", "out.png", "--codec", "two", "--top-p", "2"]) == 2
    assert "top_p is 2.0; it must be above 0" in capsys.readouterr().err
    assert not Path("out.png").exists()
