"""One recording to codes and to another voice, in blocks of constant memory and without a seam."""

from pathlib import Path

import pytest
import torch

from speechvq import Codec, Codes
from speechvq.errors import BadAudio, BadCodes, BadSetting, UnknownSpeaker, WouldOverwrite
from speechvq.serve import files
from speechvq.serve.files import Voice, convert_file, decode_file, encode_file
from speechvq.speech.audio import read_audio, write_audio
from speechvq.store.codes import StoredCodes, read_codes, write_codes

SLT = Voice("slt")


@pytest.fixture(scope="module")
def codec(tiny_codec: Path) -> Codec:
    return Codec.from_pretrained(tiny_codec)


def speak(path: Path, seconds: float = 1.3) -> Path:
    """A tone that glides, with some noise."""
    time = torch.arange(round(16000 * seconds)) / 16000
    wave = 0.4 * torch.sin(2 * torch.pi * (150 + 40 * time) * time) + 0.02 * torch.randn(len(time))
    write_audio(path, wave, 16000)
    return path


def test_encode_keeps_what_the_codec_says(codec: Codec, tmp_path: Path) -> None:
    source = speak(tmp_path / "a.wav")
    encode_file(codec, str(source), str(tmp_path / "a.svq"))
    stored = read_codes(tmp_path / "a.svq")
    assert torch.equal(stored.indices, codec.encode(read_audio(source)[None]).indices)
    assert stored.size == (20800,)
    assert (stored.rate, stored.frame_rate, stored.codebook_size) == (16000, 50, 32)
    assert stored.fingerprint == codec.fingerprint


def test_decode_and_convert_agree_with_the_codec(codec: Codec, tmp_path: Path) -> None:
    source = speak(tmp_path / "a.wav")
    encode_file(codec, str(source), str(tmp_path / "a.svq"))
    decode_file(codec, str(tmp_path / "a.svq"), str(tmp_path / "decoded.wav"), voice=SLT)
    convert_file(codec, str(source), str(tmp_path / "converted.wav"), voice=SLT)
    whole = codec.decode(Codes(read_codes(tmp_path / "a.svq").indices), speaker="slt", seed=0)[0]
    for name in ("decoded.wav", "converted.wav"):
        made = read_audio(tmp_path / name)
        assert made.shape == whole.shape
        assert (made - whole).abs().max() < 2e-3


def test_blocks_leave_no_seam(codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = speak(tmp_path / "a.wav", 7.03)
    encode_file(codec, str(source), str(tmp_path / "whole.svq"))
    convert_file(codec, str(source), str(tmp_path / "whole.wav"), voice=SLT)
    monkeypatch.setattr(files, "BLOCK", 1.0)
    encode_file(codec, str(source), str(tmp_path / "parts.svq"))
    convert_file(codec, str(source), str(tmp_path / "parts.wav"), voice=SLT)
    assert torch.equal(read_codes(tmp_path / "whole.svq").indices, read_codes(tmp_path / "parts.svq").indices)
    whole, parts = read_audio(tmp_path / "whole.wav"), read_audio(tmp_path / "parts.wav")
    assert whole.shape == parts.shape
    assert (whole - parts).abs().max() < 2e-3


def test_an_embedding_is_a_voice(codec: Codec, tmp_path: Path) -> None:
    source = speak(tmp_path / "a.wav")
    for name, voice in (("b", Voice(torch.randn(1, 256))), ("c", SLT)):
        convert_file(codec, str(source), str(tmp_path / f"{name}.wav"), voice=voice)
    assert not torch.equal(read_audio(tmp_path / "b.wav"), read_audio(tmp_path / "c.wav"))


def test_voices_are_checked_first(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(UnknownSpeaker, match="slt, kal"):
        convert_file(codec, "nothing.wav", str(tmp_path / "a.wav"), voice=Voice("nobody"))
    with pytest.raises(BadSetting, match="--speaker, one of slt, kal"):
        decode_file(codec, "nothing.svq", str(tmp_path / "a.wav"), voice=Voice())


def test_wrong_and_empty_codes(codec: Codec, tmp_path: Path) -> None:
    def stored(shape: tuple[int, ...], fingerprint: str) -> str:
        indices = torch.zeros(1, 1, *shape, dtype=torch.int64)
        made = StoredCodes(indices, 32, 16000, 50, tuple(320 * n for n in shape), fingerprint)
        write_codes(tmp_path / "a.svq", made, force=True)
        return str(tmp_path / "a.svq")

    out = str(tmp_path / "a.wav")
    with pytest.raises(BadCodes, match="another codec"):
        decode_file(codec, stored((5,), "00" * 8), out, voice=SLT)
    for shape in ((0,), (2, 3)):
        with pytest.raises(BadCodes, match="no codes of sound"):
            decode_file(codec, stored(shape, codec.fingerprint), out, voice=SLT)
    assert not Path(out).exists()


def test_too_short_and_already_there(codec: Codec, tmp_path: Path) -> None:
    short = tmp_path / "short.wav"
    write_audio(short, 0.1 * torch.randn(1, 200), 16000)
    with pytest.raises(BadAudio, match="short.wav is too short"):
        encode_file(codec, str(short), str(tmp_path / "new" / "a.svq"))
    with pytest.raises(BadAudio, match="too short"):
        convert_file(codec, str(short), str(tmp_path / "new" / "a.wav"), voice=SLT)
    assert not (tmp_path / "new").exists(), "no folder is made for nothing"
    source = speak(tmp_path / "a.wav")
    (tmp_path / "b.svq").write_bytes(b"mine")
    with pytest.raises(WouldOverwrite):
        encode_file(codec, str(source), str(tmp_path / "b.svq"))
    assert (tmp_path / "b.svq").read_bytes() == b"mine"
    encode_file(codec, str(source), str(tmp_path / "b.svq"), force=True)
    assert read_codes(tmp_path / "b.svq").grid == (65,)
