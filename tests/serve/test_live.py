"""A voice that follows a speaker: whole at any lag, the offline conversion at no bound, through pipes."""

import io
import json
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq import Codec
from speechvq.errors import BadAudio, BadSetting
from speechvq.serve.follow import Stream, follow
from speechvq.serve.live import Timing, convert_live
from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.coming import Coming
from speechvq.speech.features import LogMel

HOP = 320


@pytest.fixture(scope="module")
def codec(tiny_codec: Path) -> Codec:
    return Codec.from_pretrained(tiny_codec)


def built(encoder: dict, decoder: dict) -> Codec:
    torch.manual_seed(3)
    return Codec.build(
        {"room": "speech", "rate": 16000, "encoder": encoder, "decoder": decoder,
         "quantizer": {"name": "vector", "codebook_size": 32}}
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def causal_mean() -> Codec:
    """Takes off no mean, so that at a lag beyond its sight it is the offline conversion."""
    encoder = {"name": "mel", "dim": 8, "channels": 8, "dilations": [1, 2], "remove_mean": False}
    return built(encoder, {"name": "spectral", "size": "tiny", "speakers": ["slt"]})


def said(samples: int = 14000) -> torch.Tensor:
    moment = torch.arange(samples) / 16000
    return 0.3 * torch.sin(2 * torch.pi * (150 + 60 * moment) * moment) + 0.05 * torch.randn(samples)


def live(codec: Codec, wave: torch.Tensor, lag: float, size: int = 640) -> torch.Tensor:
    return torch.cat(list(convert_live(codec, wave.split(size), lag=lag, speaker="slt", seed=1)), 1)


def offline(codec: Codec, wave: torch.Tensor) -> torch.Tensor:
    return codec.decode(codec.encode(wave[None, None]), speaker="slt", seed=1)[0]


@pytest.mark.parametrize("samples", [14000, 640, 321])
def test_without_a_bound_it_is_the_offline_conversion(codec: Codec, samples: int) -> None:
    wave = said(samples)
    torch.testing.assert_close(live(codec, wave, float("inf")), offline(codec, wave), atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [640, 500, 3000])
def test_beyond_the_sight_of_the_codec_it_is_the_offline_conversion(causal_mean: Codec, size: int) -> None:
    """In windows: what is forgotten behind is what nothing sees any more."""
    wave = said(40000)
    torch.testing.assert_close(
        live(causal_mean, wave, 400.0, size), offline(causal_mean, wave), atol=1e-3, rtol=0
    )


def test_strided_encoders_too() -> None:
    encoder = {"name": "strided", "dim": 8, "channels": 8, "preset": "phone640", "dilations": [1]}
    codec = built(encoder, {"name": "spectral", "size": "tiny", "speakers": ["slt"], "hop": 640})
    wave = said(40000)
    torch.testing.assert_close(live(codec, wave, 600.0), offline(codec, wave), atol=1e-3, rtol=0)


@pytest.mark.parametrize("lag", [60.0, 100.0, 160.0])
def test_every_sample_gets_its_sound_when_the_lag_says(codec: Codec, lag: float) -> None:
    wave = said(14000)
    heard, spoken = 0, 0
    timing = Timing.of(codec, lag)

    def blocks():
        nonlocal heard
        for block in wave.split(timing.block):
            # Of what came before this block, all but the lag's worth has been spoken.
            assert spoken >= heard - (timing.lag * 16 - timing.block)
            heard += len(block)
            yield block

    for piece in convert_live(codec, blocks(), lag=lag, speaker="slt"):
        spoken += piece.shape[1]
    assert spoken == 14000 // HOP * HOP
    assert timing.lag <= lag


def test_more_lag_is_nearer_to_the_offline_conversion(causal_mean: Codec) -> None:
    wave = said(24000)
    mel = LogMel()
    whole = mel(offline(causal_mean, wave)[None])
    far, near = ((mel(live(causal_mean, wave, lag)[None]) - whole).abs().mean() for lag in (60.0, 200.0))
    assert near < far


def test_decoders_that_keep_their_own_past() -> None:
    encoder = {"name": "strided", "dim": 8, "channels": 8, "preset": "paper64"}
    stack = {"layers": 4, "stacks": 2, "residual": 8, "gate": 8, "skip": 8, "post": 8}
    codec = built(encoder, {"name": "wavenet", "speakers": ["slt"], "stack": stack, "cond_channels": 8})
    wave = said(1000)
    torch.testing.assert_close(live(codec, wave, 60.0, 320), offline(codec, wave), atol=1e-3, rtol=0)


def test_timing(codec: Codec) -> None:
    assert Timing.of(codec) == Timing(640, 5, 160.0)
    assert Timing.of(codec, 179).lag == 160.0
    assert Timing.of(codec, float("inf")).ahead == float("inf")
    for lag in (59.0, -1.0, float("nan")):
        with pytest.raises(BadSetting, match="too short for this codec; the least is 60 ms"):
            Timing.of(codec, lag)


def test_sound_that_ends_too_soon(codec: Codec) -> None:
    for wave in (said(200), said(0)):
        with pytest.raises(BadAudio, match="ended before 320 samples"):
            live(codec, wave, 160.0)


@pytest.mark.parametrize("kind", ["i16", "u8", "i24", "i32", "f32", "f64"])
@pytest.mark.parametrize("known", [True, False])
def test_wav_streams(kind: str, known: bool) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (700, 2))
    bits = int(kind[1:])
    if kind[0] == "f":
        data = wave.astype(f"<f{bits // 8}").tobytes()
    elif kind == "u8":
        data = (wave * 127 + 128).round().astype(np.uint8).tobytes()
    else:
        whole = (wave * (2 ** (bits - 1) - 1)).round().astype("<i8").reshape(-1, 1).view(np.uint8)
        data = whole[:, : bits // 8].tobytes()
    form = struct.pack("<HHIIHH", 3 if kind[0] == "f" else 1, 2, 8000, 8000 * bits // 4, bits // 4, bits)
    sizes = (len(data), b"") if known else (0xFFFFFFFF, b"")
    head = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt " + struct.pack("<I", len(form)) + form
    file = io.BytesIO(head + b"data" + struct.pack("<I", sizes[0]) + data + (b"LISTjunk" if known else b""))
    blocks = list(Coming(file, 8000).blocks(160))
    assert [len(block) for block in blocks] == [160] * 4 + [60]
    assert np.abs(torch.cat(blocks).numpy() - wave.mean(1)).max() < 2.0 ** (2 - min(bits, 20))


def test_raw_streams_and_other_rates() -> None:
    wave = said(4000)
    raw = (wave * 32767).to(torch.int16).numpy().tobytes()
    assert (torch.cat(list(Coming(io.BytesIO(raw), 16000).blocks(640))) - wave).abs().max() < 1e-3
    file = io.BytesIO()
    with Stream(file, 8000, raw=False) as stream:
        stream.write(wave)
    file.seek(0)
    twice = torch.cat(list(Coming(file, 16000).blocks(640)))
    assert abs(len(twice) - 8000) <= 2


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "header is cut short"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "header is damaged or has no samples"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 6, 1, 8000, 1, 1, 8), "kind that is not"),
    ],
)
def test_damaged_wav_streams(stream: bytes, sentence: str) -> None:
    with pytest.raises(BadAudio, match=sentence):
        Coming(io.BytesIO(stream), 16000)


def test_to_a_file(codec: Codec, tiny_codec: Path, tmp_path: Path) -> None:
    from speechvq.serve.files import Voice

    write_audio(tmp_path / "a.wav", said(8000), 16000)
    follow(
        codec, str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), voice=Voice("slt", seed=1), lag=float("inf")
    )
    want = offline(codec, read_audio(tmp_path / "a.wav")[0])
    assert (read_audio(tmp_path / "b.wav") - want).abs().max() < 1e-3


def shell(tiny_codec: Path, *words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "speechvq",
        "convert",
        "--live",
        *words,
        "-s",
        "slt",
        "--codec",
        str(tiny_codec),
    ]


def test_through_pipes_sound_comes_before_the_end(codec: Codec, tiny_codec: Path) -> None:
    wave = said(16000)
    raw = (wave * 32767).to(torch.int16).numpy().tobytes()
    process = subprocess.Popen(shell(tiny_codec, "-", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(raw[:9600])  # 300 ms, and then nothing until the first sound is here
    process.stdin.flush()
    early = process.stdout.read(2 * HOP)
    assert len(early) == 2 * HOP
    feeder = threading.Thread(target=lambda: (process.stdin.write(raw[9600:]), process.stdin.close()))  # pyright: ignore
    feeder.start()
    rest = process.stdout.read()
    feeder.join()
    assert process.wait(60) == 0
    got = torch.frombuffer(bytearray(early + rest), dtype=torch.int16).float() / 32767
    heard = torch.frombuffer(bytearray(raw), dtype=torch.int16).float() / 32768
    want = torch.cat(list(convert_live(codec, heard.split(640), speaker="slt", seed=0)), 1)[0]
    assert got.shape == want.shape
    assert (got - want).abs().max() < 1e-2


def test_sentences_at_the_command_line(
    tiny_codec: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    from speechvq.cli import main

    codec = ["-s", "slt", "--codec", str(tiny_codec)]
    for words, sentence in [
        (["--live", "a.wav", "b.wav", "--lag", "10"], "the least is 60 ms"),
        (["a.wav", "b.wav", "--lag", "200"], "--lag is of live conversion"),
        (["--live", "a.wav", "b.wav", "--resume"], "are for many files"),
        (["--live", str(tmp_path / "none.wav"), str(tmp_path / "b.wav")], "none.wav"),
    ]:
        assert main(["convert", *words, *codec]) == 2
        assert sentence in capfd.readouterr().err
    assert not (tmp_path / "b.wav").exists()


def test_without_a_microphone(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechvq.serve.files import Voice

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(BadSetting, match="needs the library sounddevice and PortAudio"):
        follow(codec, "microphone", "-", voice=Voice("slt"))


def test_the_benchmark_of_the_lag_runs(checkout: Path, tiny_codec: Path, tmp_path: Path) -> None:
    words = ["--lags", "100,200", "--seconds", "1.5", "--recordings", "1", "--json", str(tmp_path / "a.json")]
    command = [sys.executable, "benchmarks/live.py", str(tiny_codec), *words]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["lag_ms"] for row in found["lags"]] == [100, 200]
    assert all(row["first_sound_ms"] > row["block_ms"] for row in found["lags"])
