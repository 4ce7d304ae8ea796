"""`prepare asterisk`: prompts installed, in a folder, or in .deb files made here as dpkg makes them."""

import gzip
import io
import lzma
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.audio import read_audio
from speechvq.speech.prepare import Options
from speechvq.speech.prepare.asterisk import INSTALLED, asterisk, decode_g722
from speechvq.store.debian import unpack

av = pytest.importorskip("av")
RATE = 16000
TEXTS = "; Core sounds\n\nhello: Hello,  world.\nvm-intro: Please: leave it.\nring: [a bell rings]\n"


def g722(path: Path, seconds: float, pitch: float = 200.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    wave = (8000 * np.sin(2 * np.pi * pitch * time)).astype(np.int16)
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE, layout="mono")
        for at in range(0, len(wave), 320):
            piece = np.ascontiguousarray(wave[None, at : at + 320])
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two packages with the links that the package system makes, and the English texts."""
    share = tmp_path_factory.mktemp("share")
    sounds = share / "asterisk" / "sounds"
    for voice in ("en_US_f_Allison", "ru_RU_f_IvrvoiceRU"):
        for number, name in enumerate(("hello", "vm-intro", "digits/7", "ring")):
            g722(sounds / voice / f"{name}.g722", 0.8 + 0.1 * number)
        g722(sounds / voice / "digits" / "oh.g722", 0.2)
        for name in ("beep", "silence/1", "descending-2tone"):
            g722(sounds / voice / f"{name}.g722", 1.0)
        (sounds / voice / "is.g722").touch()
    (sounds / "en").symlink_to(sounds / "en_US_f_Allison")
    g722(sounds / "somebody_else" / "hello.g722", 1.0)
    texts = share / "doc" / "asterisk-core-sounds-en" / "core-sounds-en.txt.gz"
    texts.parent.mkdir(parents=True)
    texts.write_bytes(gzip.compress(TEXTS.encode()))
    return sounds


def package(path: Path, files: dict[str, bytes], compression: str = "xz") -> Path:
    """A .deb: an `ar` archive of debian-binary, control.tar and data.tar."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo("./usr/link.g722")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./usr/share/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    packed = {"xz": lzma.compress, "gz": gzip.compress}[compression](data.getvalue())
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar.{compression}": packed}
    content = b"!<arch>\n"
    for name, body in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode()
        content += body + b"\n" * (len(body) % 2)
    path.write_bytes(content)
    return path


def test_installed(installed: Path, tmp_path: Path) -> None:
    prepared = asterisk(installed, tmp_path, options=Options(valid=0.2, test=0.2))
    found = {(e.speaker, e.utterance): e for e in prepared.entries}
    assert set(found) == {
        ("en_allison", "en/hello"), ("en_allison", "en/vm-intro"), ("en_allison", "en/digits/7"),
        ("ru_ivrvoice", "ru/hello"), ("ru_ivrvoice", "ru/vm-intro"), ("ru_ivrvoice", "ru/digits/7"),
        ("ru_ivrvoice", "ru/ring"),
    }  # fmt: skip
    assert found["en_allison", "en/hello"].text == "Hello, world."
    assert found["en_allison", "en/vm-intro"].text == "Please: leave it."
    assert found["ru_ivrvoice", "ru/hello"].text is None
    assert prepared.skipped.counts == {"is a tone, not speech": 7, "is shorter than 0.5 s": 2, "is empty": 2}
    assert {e.split for e in prepared.entries} == {"train", "valid", "test"}
    for entry in prepared.entries:
        assert Path(entry.path).is_relative_to(tmp_path / "sounds" / entry.speaker)
        assert read_audio(entry.path).shape[1] / RATE == pytest.approx(entry.duration, abs=1e-3)
    assert found["en_allison", "en/digits/7"].duration == pytest.approx(1.0, abs=0.03)


def test_decoded_sound_is_the_sound(installed: Path) -> None:
    wave = decode_g722(installed / "en_US_f_Allison" / "hello.g722")[0]
    spectrum = torch.fft.rfft(wave[: RATE // 2]).abs()
    assert spectrum.argmax().item() * 2 == 200
    assert wave.abs().max().item() == pytest.approx(8000 / 32768, abs=0.02)


def test_again_keeps_what_is_there(installed: Path, tmp_path: Path) -> None:
    first = asterisk(installed, tmp_path)
    times = {e.path: Path(e.path).stat().st_mtime_ns for e in first.entries}
    Path(first.entries[0].path).unlink()
    assert asterisk(installed, tmp_path) == first
    after = {path: Path(path).stat().st_mtime_ns for path in times}
    assert [path for path in times if after[path] != times[path]] == [first.entries[0].path]


def test_refuse_minds_the_empty_prompt_but_no_tones(installed: Path, tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match=r"is\.g722 is empty"):
        asterisk(installed, tmp_path, options=Options(on_bad="refuse"))


@pytest.mark.parametrize("compression", ["xz", "gz"])
@pytest.mark.parametrize("single", [True, False])
def test_packages(installed: Path, tmp_path: Path, compression: str, single: bool) -> None:
    paths = sorted((installed / "en_US_f_Allison").rglob("*.g722"))
    files = {f"asterisk/sounds/{p.relative_to(installed)}": p.read_bytes() for p in paths}
    files["doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"] = gzip.compress(TEXTS.encode())
    (tmp_path / "in").mkdir()
    deb = package(tmp_path / "in" / "asterisk-core-sounds-en-g722_1.deb", files, compression)
    prepared = asterisk(deb if single else tmp_path / "in", tmp_path / "out")
    assert Counter(e.speaker for e in prepared.entries) == {"en_allison": 3}
    assert sorted(e.text or "" for e in prepared.entries) == ["", "Hello, world.", "Please: leave it."]


def test_links_and_other_files_stay_in_the_package(tmp_path: Path) -> None:
    deb = package(tmp_path / "x.deb", {"a.g722": b"1", "b.sh": b"2", "../../../up.g722": b"3"})
    with pytest.raises(BadSetting, match="cannot be unpacked"):
        unpack(deb, tmp_path / "out", suffixes=(".g722",))
    assert not list(tmp_path.rglob("up.g722"))
    unpack(package(deb, {"a.g722": b"1", "b.sh": b"2"}), tmp_path / "out", suffixes=(".g722",))
    assert [p.name for p in (tmp_path / "out").rglob("*.*")] == ["a.g722"]


@pytest.mark.parametrize("damage", ["text", "cut", "no data", "noise", "unknown compression"])
def test_damaged_package(tmp_path: Path, damage: str) -> None:
    deb = package(tmp_path / "x.deb", {"a.g722": np.random.default_rng(0).bytes(5000)})
    content = deb.read_bytes()
    changed = {
        "text": b"no package at all",
        "cut": content[: len(content) // 2],
        "no data": content.replace(b"data.tar.xz", b"date.tar.xz"),
        "noise": content[:-400] + bytes(200) + content[-200:],
        "unknown compression": content.replace(b"\xfd7zXZ", b"\x28\xb5\x2f\xfd\x00"),
    }
    deb.write_bytes(changed[damage])
    with pytest.raises(BadSetting, match=r"x\.deb"):
        asterisk(deb, tmp_path / "out")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="apt install"):
        asterisk(tmp_path / "missing", tmp_path)
    with pytest.raises(BadSetting, match=r"missing\.deb"):
        asterisk(tmp_path / "missing.deb", tmp_path)
    with pytest.raises(BadSetting, match="gave nothing"):
        asterisk(tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED.is_dir(), reason="the Debian packages are not installed")
def test_the_real_packages(tmp_path: Path) -> None:
    prepared = asterisk(None, tmp_path)
    assert len(prepared.entries) > 2500
    assert 110 < sum(e.duration for e in prepared.entries) / 60 < 135
