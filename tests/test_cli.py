"""The door: verbs, flags, exit codes and sentences, as a person at a terminal meets them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import speechvq
from speechvq.cli import main
from speechvq.speech.audio import facts, write_audio
from speechvq.store.codes import read_codes
from speechvq.store.manifest import Entry, read_manifest, write_manifest

VERBS = ["prepare", "train", "encode", "decode", "convert", "generate", "score", "demo"]


def say(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, 0.2 * torch.randn(1, round(16000 * seconds)), 16000)
    return path


def shell(*arguments: str, stdin: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "speechvq", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=600, check=False, **options)  # pyright: ignore


@pytest.mark.parametrize(
    "verb", [[], *([verb] for verb in VERBS), *(["score", what] for what in ("conversion", "prior", "probe"))]
)
def test_every_help_shows_an_example(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: speechvq {' '.join(verb)}".strip() in " ".join(shown.split())
    assert all(name in shown for name in VERBS if not verb)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, speechvq.cli; speechvq.cli.main(['--help']);"
        "heavy = {'torch', 'soundfile', 'librosa', 'torchaudio', 'hydra', 'soxr'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_front_door_is_light() -> None:
    code = (
        "import sys, speechvq; assert 'torch' not in sys.modules; speechvq.Codec, speechvq.VectorQuantizer;"
        "heavy = {'soundfile', 'librosa', 'torchaudio', 'soxr', 'av'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_front_door_names() -> None:
    assert all(getattr(speechvq, name) is not None for name in speechvq.__all__)
    assert dir(speechvq) == speechvq.__all__
    with pytest.raises(AttributeError, match="it has Batch, Codec"):
        _ = speechvq.Nothing  # pyright: ignore


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"speechvq {speechvq.__version__}\n"


def test_file_to_file(workdir: Path, tiny_codec: Path) -> None:
    say(Path("a.wav"))
    codec = ["--codec", str(tiny_codec)]
    assert main(["encode", "a.wav", "a.svq", *codec]) == 0
    assert read_codes("a.svq").grid == (25,)
    assert main(["decode", "a.svq", "b.flac", "--speaker", "slt", *codec]) == 0
    assert main(["convert", "a.wav", "c.ogg", "-s", "kal", "--seed", "3", *codec]) == 0
    assert facts("b.flac").frames == 8000
    assert facts("c.ogg").rate == 16000
    assert sorted(path.name for path in Path().iterdir()) == ["a.svq", "a.wav", "b.flac", "c.ogg"]


def test_folder_to_folder(workdir: Path, tiny_codec: Path) -> None:
    for name in ("in/a.wav", "in/b/c.flac", "in/b/d/e.ogg"):
        say(Path(name))
    codec = ["--codec", str(tiny_codec)]
    assert main(["encode", "in", "codes", *codec]) == 0
    assert main(["decode", "codes", "decoded", "-s", "slt", *codec]) == 0
    assert main(["convert", "in", "converted", "-s", "slt", *codec]) == 0
    for folder, suffix in (("codes", "svq"), ("decoded", "wav"), ("converted", "wav")):
        found = sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*"))
        assert found == [f"a.{suffix}", f"b/c.{suffix}", f"b/d/e.{suffix}"]


def test_stdin_to_stdout(workdir: Path, tiny_codec: Path) -> None:
    codec = ["--codec", str(tiny_codec)]
    wave = say(Path("a.wav")).read_bytes()
    codes = shell("encode", "-", *codec, stdin=wave)
    assert codes.returncode == 0, codes.stderr
    assert main(["encode", "a.wav", "a.svq", *codec]) == 0
    assert codes.stdout == Path("a.svq").read_bytes()
    spoken = shell("decode", "-", "-", "-s", "slt", *codec, stdin=codes.stdout)
    assert spoken.stdout[:4] == b"RIFF"
    converted = shell("convert", "-", "-s", "slt", *codec, stdin=wave)
    assert converted.stdout == spoken.stdout
    piped = shell("convert", "-", "b.wav", "-s", "slt", *codec, stdin=wave)
    assert piped.stdout == b""
    assert facts("b.wav").frames == 8000


def test_no_silent_overwrite(workdir: Path, tiny_codec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(Path("a.wav"))
    Path("b.wav").write_text("mine")
    command = ["convert", "a.wav", "b.wav", "-s", "slt", "--codec", str(tiny_codec)]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "speechvq: b.wav is already there; give --force to replace it, or another name\n"
    )
    assert Path("b.wav").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert facts("b.wav").frames == 8000


def test_resume_does_what_is_left(workdir: Path, tiny_codec: Path) -> None:
    say(Path("in/a.wav")), say(Path("in/b.wav"))
    Path("out").mkdir()
    Path("out/a.svq").write_text("done before")
    assert main(["encode", "in", "out", "--codec", str(tiny_codec)]) == 2
    assert not Path("out/b.svq").exists()
    assert main(["encode", "in", "out", "--resume", "--codec", str(tiny_codec)]) == 0
    assert Path("out/a.svq").read_text() == "done before"
    assert Path("out/b.svq").exists()


@pytest.mark.parametrize(("bad", "code", "made"), [("report", 1, 2), ("skip", 0, 2), ("refuse", 2, 1)])
def test_bad_files_in_a_folder(
    workdir: Path, tiny_codec: Path, capsys: pytest.CaptureFixture[str], bad: str, code: int, made: int
) -> None:
    say(Path("in/a.wav")), say(Path("in/z.wav"))
    Path("in/m.wav").write_bytes(b"")
    assert main(["encode", "in", "out", "--bad", bad, "--codec", str(tiny_codec)]) == code
    assert len(list(Path("out").iterdir())) == made
    shown = capsys.readouterr().err
    assert "in/m.wav" in shown
    assert "empty" in shown
    assert ("2 done, 1 skipped" in shown) == (bad != "refuse")


def test_unknown_voice_lists_the_known(
    workdir: Path, tiny_codec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(Path("a.wav"))
    for flags in (["-s", "nobody"], []):
        assert main(["convert", "a.wav", "b.wav", *flags, "--codec", str(tiny_codec)]) == 2
        assert "slt, kal" in capsys.readouterr().err
    both = ["-s", "slt", "--speaker-reference", "a.wav"]
    assert main(["convert", "a.wav", "b.wav", *both, "--codec", str(tiny_codec)]) == 2
    assert "not both" in capsys.readouterr().err
    assert not Path("b.wav").exists()


def test_a_recording_names_the_voice(workdir: Path, tiny_codec: Path, checkout: Path) -> None:
    pytest.importorskip("resemblyzer")
    say(Path("a.wav"))
    reference = str(checkout / "tests" / "assets" / "slt_short.flac")
    command = ["convert", "a.wav", "b.wav", "--speaker-reference", reference, "--codec", str(tiny_codec)]
    assert main(command) == 0
    assert facts("b.wav").frames == 8000


def test_a_device_that_is_not_there(
    workdir: Path, tiny_codec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(Path("a.wav"))
    for device in ("abacus", "cuda:77"):
        assert main(["encode", "a.wav", "b.svq", "--device", device, "--codec", str(tiny_codec)]) == 2
        assert re.search(f"device '{device}' cannot be used here .* --device cpu", capsys.readouterr().err)


def test_a_fault_of_ours_is_a_sentence_too(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(Path("a.wav"))

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("speechvq.cli.files.load_codec", broken)
    assert main(["encode", "a.wav", "b.svq"]) == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: oh" in shown
    assert "SPEECHVQ_DEBUG=1" in shown
    monkeypatch.setenv("SPEECHVQ_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["encode", "a.wav", "b.svq"])


def test_prepare_your_own_folder(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for voice in ("ann", "bob"):
        for name in range(4):
            say(Path(f"in/{voice}/{name}.wav"), 0.7)
    Path("in/ann/bad.wav").write_bytes(b"")
    command = ["prepare", "folder", "in", "--valid", "0.25", "--test", "0.25", "--workers", "1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "data/manifest.jsonl: 8 recordings" in shown
    assert "2 voices (" in shown
    assert "in/ann/bad.wav" in shown
    assert {entry.speaker for entry in read_manifest("data/manifest.jsonl")} == {"ann", "bob"}
    assert main(command) == 2, "no silent overwrite"
    changes = ["--force", "--speaker", "me", "--highpass", "70", "--normalise", "peak", "--bad", "report"]
    assert main([*command, *changes]) == 1
    entry = read_manifest("data/manifest.jsonl")[0]
    assert entry.speaker == "me"
    assert entry.processing == {"sample_rate": 16000, "highpass": 70.0, "normalise": "peak", "peak": 0.95}


@pytest.mark.parametrize(
    "flags",
    [
        "vctk in --mic 1 --unseen p225",
        "librispeech in --subset dev-clean --alignments grids",
        "ljspeech in",
        "timit in",
        "zerospeech2019 in --language english --vad",
        "asterisk in",
    ],
)
def test_prepare_says_what_a_corpus_looks_like(
    workdir: Path, capsys: pytest.CaptureFixture[str], flags: str
) -> None:
    Path("in").mkdir()
    assert main(["prepare", *flags.split(), "--out", "out"]) == 2
    assert "speechvq: " in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.fixture
def talking_codec(tiny_codec: Path, checkout: Path, workdir: Path) -> Path:
    """The codec with recordings for a demo."""
    folder = shutil.copytree(tiny_codec, workdir / "codec")
    (folder / "examples").mkdir()
    recording = checkout / "tests" / "assets" / "slt_short.flac"
    entries = [
        Entry(str(recording), 0.0, facts(recording).duration, speaker, utterance, split, text="Hello.")
        for speaker in ("slt", "kal")
        for utterance, split in (("one", "test"), ("two", "train"), ("three", "valid"))
    ]
    write_manifest(folder / "examples" / "examples.jsonl", entries)
    return folder


def test_demo_that_trains(talking_codec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--train", "--minutes", "0.3", "--codec", str(talking_codec), "--out", "out"]
    assert main(["demo", *settings]) == 0
    shown = capsys.readouterr().out
    first, last = re.search(r"loss went from ([\d.]+) to ([\d.]+)", shown).groups()  # pyright: ignore
    assert float(last) < float(first)
    assert re.search(r"use \d+ of 128 codes", shown)


@pytest.mark.slow
def test_demo(talking_codec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # a former demo is replaced
        assert main(["demo", "--codec", str(talking_codec), "--out", "out"]) == 0
    assert Path("out/index.html").is_file()
    assert len(list(Path("out/codes").iterdir())) == 2
    assert "Listen: out/index.html" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(workdir: Path, tiny_codec: Path) -> None:
    say(Path("a.wav"))
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "speechvq", "encode", "a.wav", "-", "--codec", str(tiny_codec)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("speechvq: the disk is full")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves(workdir: Path, tiny_codec: Path) -> None:
    say(Path("a.wav"))
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "speechvq", "encode", "a.wav", "-", "--codec", str(tiny_codec)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=600, check=False)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_interrupted(workdir: Path, tiny_codec: Path) -> None:
    command = [sys.executable, "-m", "speechvq", "encode", "-", "out.svq", "--codec", str(tiny_codec)]
    Path("tmp").mkdir()
    environment = os.environ | {"TMPDIR": "tmp"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    end = time.monotonic() + 500
    while not list(Path("tmp").rglob("stdin.wav")) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)  # while it waits for the sound
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    assert [path.name for path in Path().rglob("*")] == ["tmp"]
