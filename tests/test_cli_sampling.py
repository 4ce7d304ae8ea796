"""--temperature and --top-k: heard by a decoder that samples, refused in a sentence by one that does not."""

from pathlib import Path

import pytest
import torch

from speechvq import Codec
from speechvq.cli import main
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
    for name, flags in asked.items():
        outcome = main(
            ["convert", str(folder / "in.wav"), str(folder / f"{name}.wav"), "-s", "b",
             "--codec", str(folder / "codec"), *flags]
        )  # fmt: skip
        assert outcome == 0
    sounds = {name: read_audio(folder / f"{name}.wav") for name in asked}
    assert torch.equal(sounds["plain"], sounds["again"])
    assert not torch.equal(sounds["plain"], sounds["calm"])
    assert not torch.equal(sounds["plain"], sounds["few"])


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
