"""``speechvq import`` and ``speechvq export`` as a person at a terminal meets them."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

from speechvq.cli import main
from speechvq.codec import Codec

from .published import SMALL, Contrastive, Decoder, Encoder, hashed, training_state, write


@pytest.fixture
def desk(workdir: Path) -> Path:
    encoder, decoder = hashed(Encoder(SMALL)), hashed(Decoder(SMALL))
    write(
        Path("model.ckpt-9.pt"),
        {"encoder": encoder.state_dict(), "decoder": decoder.state_dict(), **training_state(decoder)},
    )
    write(Path("cpc.pt"), {"encoder": hashed(Contrastive(SMALL)).state_dict()})
    write(Path("vocoder.pt"), {"vocoder": hashed(Decoder(SMALL, own=True)).state_dict()})
    Path("speakers.json").write_text(json.dumps(["V1", "S2", "S1", "S4", "S3"]))
    soundfile.write("me.wav", 0.1 * torch.randn(1600).numpy(), 16000)
    return workdir


def test_there_and_back(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "zerospeech", "model.ckpt-9.pt", "codec", "--speakers", "speakers.json"]
    assert main(command) == 0
    assert "5 voices, such as S1" in capsys.readouterr().err
    assert Codec.from_pretrained("codec").decoder.speakers == ("S1", "S2", "S3", "S4", "V1")
    assert "model.ckpt-9.pt" in Path("codec/README.md").read_text()
    assert main(command) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert main(["encode", "me.wav", "me.svq", "--codec", "codec"]) == 0
    voice = ["--speaker", "V1", "--codec", "codec", "--temperature", "0.5"]
    assert main(["convert", "me.wav", "v1.wav", *voice]) == 0
    assert soundfile.info("v1.wav").frames == 4 * 320
    assert main(["export", "zerospeech", "codec", "out.pt", "--step", "9", "--speakers", "again.json"]) == 0
    before, after = (torch.load(p, weights_only=True) for p in ("model.ckpt-9.pt", "out.pt"))
    assert after["step"] == 9
    assert all(torch.equal(after[p][n], before[p][n]) for p in ("encoder", "decoder") for n in before[p])
    assert json.loads(Path("again.json").read_text()) == ["S1", "S2", "S3", "S4", "V1"]


def test_the_contrastive_model(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "vqcpc", "cpc.pt", "mute"]) == 0
    assert "codes only" in capsys.readouterr().err
    assert main(["encode", "me.wav", "me.svq", "--codec", "mute"]) == 0
    assert main(["decode", "me.svq", "me.flac", "--codec", "mute"]) == 2
    assert "cannot speak" in capsys.readouterr().err
    assert not Path("me.flac").exists()
    assert main(["import", "vqcpc", "cpc.pt", "codec", "--vocoder", "vocoder.pt"]) == 0
    assert main(["decode", "me.svq", "me.flac", "--codec", "codec", "--speaker", "004"]) == 0


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["import", "zerospeech", "none.pt", "x"], "none.pt is not there"),
        (["import", "zerospeech", "me.wav", "x"], "not a torch checkpoint"),
        (["import", "zerospeech", "cpc.pt", "x"], "import vqcpc"),
        (["import", "zerospeech", "model.ckpt-9.pt", "me.wav"], "me.wav is a file"),
        (["import", "zerospeech", "model.ckpt-9.pt", "x", "--speakers", "none.json"], "none.json"),
        (["import", "vqcpc", "cpc.pt", "x", "--speakers", "speakers.json"], "give --vocoder"),
        (["export", "zerospeech", "x", "out.pt"], "not a model folder"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    desk: Path, capsys: pytest.CaptureFixture[str], command: list[str], sentence: str
) -> None:
    before = sorted(path.name for path in desk.iterdir())
    assert main(command) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in desk.iterdir()) == before


@pytest.mark.parametrize("verb", [["import"], ["import", "zerospeech"], ["import", "vqcpc"], ["export"]])
def test_help_shows_an_example(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    assert f"Example: speechvq {' '.join(verb)}" in " ".join(capsys.readouterr().out.split())
