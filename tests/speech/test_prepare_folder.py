"""`prepare folder`, and what all corpora share: checks, splits, processing, what was left out."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio.functional as AF

from speechvq.errors import BadAudio, BadSetting, UnknownName
from speechvq.speech.audio import Checks, read_audio
from speechvq.speech.prepare import PREPARERS, Options, Processing, preparer
from speechvq.speech.prepare.folder import folder
from speechvq.speech.prepare.process import process
from speechvq.store.layout import hold_out
from speechvq.store.manifest import read_manifest, write_manifest

RATE = 16000

type Sound = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path, sound: Sound) -> Path:
    root = tmp_path / "corpus"
    for voice in ("ann", "bob"):
        for number in range(10):
            sound(root / voice / "day one" / f"{number:02}.{('wav', 'flac', 'ogg', 'mp3')[number % 4]}")
    sound(root / "ann" / "deep" / "er" / "x.opus", format="OGG", subtype="OPUS")
    (root / "ann" / "day one" / "00.txt").write_text("Ten green\n bottles. ")
    (root / "bob" / "day one" / "00.TextGrid").write_text("File type")
    return root


def test_lists_speakers_texts_and_alignments(corpus: Path, tmp_path: Path) -> None:
    prepared = folder(corpus, tmp_path / "out")
    assert Counter(e.speaker for e in prepared.entries) == {"ann": 11, "bob": 10}
    assert prepared.skipped.total == 0
    first = prepared.entries[0]
    assert first.path == str(corpus / "ann" / "day one" / "00.wav")
    assert (first.utterance, first.text, first.start) == ("day one/00", "Ten green bottles.", 0.0)
    assert first.duration == pytest.approx(0.6, abs=1e-4)
    assert first.processing is None
    grids = [e.alignment for e in prepared.entries if e.alignment]
    assert grids == [str(corpus / "bob" / "day one" / "00.TextGrid")]
    assert not (tmp_path / "out").exists()  # nothing to make
    write_manifest(tmp_path / "m.jsonl", prepared.entries)
    assert read_manifest(tmp_path / "m.jsonl") == prepared.entries


def test_same_utterance_same_split_and_again(corpus: Path, tmp_path: Path) -> None:
    options = Options(valid=0.2, test=0.2)
    splits: dict[str, set[str]] = {}
    for entry in folder(corpus, tmp_path, options=options).entries:
        splits.setdefault(entry.utterance, set()).add(entry.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "valid", "test"}
    assert folder(corpus, tmp_path, options=options) == folder(corpus, tmp_path, options=options)


def test_one_speaker(tmp_path: Path, sound: Sound) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "sub" / "b.wav")
    entries = folder(tmp_path, tmp_path, speaker="me").entries
    assert [(e.speaker, e.utterance) for e in entries] == [("me", "a"), ("me", "sub/b")]
    skipped = folder(tmp_path, tmp_path).skipped
    assert skipped.paths == {"lies in no speaker's folder": (str(tmp_path / "a.wav"),)}


def bad_files(voice: Path, sound: Sound) -> dict[str, str]:
    """Odd files by name, with the reason each must be given."""
    sound(voice / "many.wav", channels=6)
    sound(voice / "short.wav", seconds=0.1)
    sound(voice / "clip.mp3")
    whole = sound(voice / "cut.wav").read_bytes()
    (voice / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (voice / "empty.flac").touch()
    (voice / "text.wav").write_text("not a sound " * 99)
    soundfile.write(str(voice / "silent.wav"), np.zeros(RATE), RATE)
    soundfile.write(str(voice / "nan.wav"), np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (voice / "phone.m4a").write_bytes(b"0000ftypM4A ")
    sound(voice / "clip.wav")
    return {
        "many.wav": "has 6 channels",
        "short.wav": "is shorter than 0.5 s",
        "cut.wav": "is truncated",
        "empty.flac": "is empty",
        "text.wav": "is damaged or not audio in a format we read",
        "silent.wav": "is silent",
        "nan.wav": "contains NaN or infinite samples",
        "phone.m4a": "is .m4a; convert it to flac or wav first",
        "clip.wav": "has the speaker and name of another recording",
    }


@pytest.mark.parametrize("processing", [None, Processing()])
def test_bad_recordings_are_left_out_and_reported(
    tmp_path: Path, processing: Processing | None, sound: Sound
) -> None:
    voice = tmp_path / "in" / "ann"
    sound(voice / "wide.wav", rate=96000)
    sound(voice / "eight.wav", subtype="PCM_U8")
    reasons = bad_files(voice, sound)
    prepared = folder(tmp_path / "in", tmp_path / "out", options=Options(processing=processing))
    assert {Path(e.path).stem for e in prepared.entries} == {"wide", "eight", "clip"}
    found = {Path(p).name: why for why, paths in prepared.skipped.paths.items() for p in paths}
    assert found == reasons
    assert prepared.skipped.total == len(reasons)
    assert set(prepared.skipped.counts.values()) == {1}
    if processing:
        made = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert made == {"wide.flac", "eight.flac", "clip.flac"}


@pytest.mark.parametrize("name", ["many.wav", "cut.wav", "empty.flac", "text.wav", "nan.wav", "phone.m4a"])
def test_refuse_stops_at_a_bad_recording(tmp_path: Path, name: str, sound: Sound) -> None:
    bad_files(tmp_path / "aside", sound)
    sound(tmp_path / "in" / "ann" / "good.wav")
    (tmp_path / "aside" / name).rename(tmp_path / "in" / "ann" / name)
    before = set(threading.enumerate())
    with pytest.raises(BadAudio, match=name) as caught:
        folder(tmp_path / "in", tmp_path / "out", options=Options(on_bad="refuse"))
    # A bar's thread that waits for the collector can be ended by a thread that waits for it.
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()], caught


def test_refuse_does_not_stop_at_a_short_one(tmp_path: Path, sound: Sound) -> None:
    sound(tmp_path / "ann" / "good.wav")
    sound(tmp_path / "ann" / "short.wav", seconds=0.2)
    assert folder(tmp_path, tmp_path, options=Options(on_bad="refuse")).skipped.total == 1
    assert len(folder(tmp_path, tmp_path, options=Options(shortest=0.0)).entries) == 2


def test_checks_of_ones_own(tmp_path: Path, sound: Sound) -> None:
    sound(tmp_path / "ann" / "mono.wav")
    sound(tmp_path / "ann" / "eight.wav", subtype="PCM_U8")
    sound(tmp_path / "ann" / "stereo.wav", channels=2)
    checks = Checks(channels=1, eight_bit=False)
    prepared = folder(tmp_path, tmp_path, options=Options(checks=checks))
    assert [e.utterance for e in prepared.entries] == ["mono"]


def test_nothing_to_use(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no folder"):
        folder(tmp_path / "missing", tmp_path)
    with pytest.raises(BadSetting, match="gave nothing to use"):
        folder(tmp_path, tmp_path)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "x.wav").touch()
    with pytest.raises(BadSetting, match="is empty"):
        folder(tmp_path, tmp_path)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_links_are_followed_once(tmp_path: Path, sound: Sound) -> None:
    sound(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ann").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "in")
    entries = folder(tmp_path / "in", tmp_path).entries
    assert [e.path for e in entries] == [str(tmp_path / "in" / "ann" / "a.wav")]


def test_processing_is_done_and_recorded(tmp_path: Path, sound: Sound) -> None:
    path = sound(tmp_path / "in" / "ann" / "a.wav", seconds=2.0, rate=44100, channels=2)
    wave, rate = soundfile.read(path)
    wave[: rate // 2] = 0
    wave[-rate // 4 :] = 0
    soundfile.write(path, wave + 0.1, rate)
    settings = Processing(highpass=70.0, normalise="peak", peak=0.9, trim=30.0)
    options = Options(processing=settings)
    (entry,) = folder(tmp_path / "in", tmp_path / "out", options=options).entries
    assert entry.path == str(tmp_path / "out" / "processed" / "ann" / "a.flac")
    assert entry.processing == {
        "sample_rate": 16000, "highpass": 70.0, "trim": 30.0, "normalise": "peak", "peak": 0.9
    }  # fmt: skip
    copy = read_audio(entry.path)
    assert copy.shape == (1, 32000)  # trimming moves start and duration, not the sound
    assert abs(copy.mean()) < 0.005
    assert entry.start == pytest.approx(0.5, abs=0.1)
    assert entry.start + entry.duration == pytest.approx(1.75, abs=0.1)
    part = read_audio(entry.path, start=entry.start, duration=entry.duration)
    assert part.abs().max() == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.2, 0.5, 3.0])
def test_loudness(seconds: float) -> None:
    time = torch.arange(round(seconds * RATE)) / RATE
    wave = 0.02 * torch.sin(2 * torch.pi * 300 * time)[None]
    done = process(wave, Processing(normalise="loudness", loudness=-20.0)).wave
    assert AF.loudness(done.repeat(1, 20), RATE).item() == pytest.approx(-20.0, abs=0.3)
    loud = process(wave, Processing(normalise="loudness", loudness=-0.1)).wave
    assert loud.abs().max() <= 1.0


def test_highpass_removes_what_is_below() -> None:
    time = torch.arange(2 * RATE) / RATE
    low, high = torch.sin(2 * torch.pi * 10 * time)[None], torch.sin(2 * torch.pi * 500 * time)[None]
    settings = Processing(highpass=70.0)
    assert process(low, settings).wave[:, RATE:].abs().max() < 0.05
    assert process(high, settings).wave[:, RATE:].abs().max() > 0.95


@pytest.mark.parametrize(
    "values",
    [
        {"normalise": "loud"},
        {"peak": 0.0},
        {"loudness": 3.0},
        {"sample_rate": 10},
        {"highpass": 9000.0},
        {"trim": 0.0},
    ],
)
def test_impossible_processing(values: dict) -> None:
    with pytest.raises(BadSetting):
        Processing(**values)


@pytest.mark.parametrize(
    "values",
    [{"valid": 0.6, "test": 0.5}, {"test": -0.1}, {"on_bad": "stop"}, {"shortest": -1.0}, {"workers": -1}],
)
def test_impossible_options(values: dict) -> None:
    with pytest.raises(BadSetting):
        Options(**values)


def test_hold_out_is_stable_and_of_the_right_size() -> None:
    names = [f"u{n}" for n in range(4000)]
    splits = hold_out(names, valid=0.1, test=0.05, seed=3)
    counts = Counter(splits.values())
    assert 340 < counts["valid"] < 460
    assert 150 < counts["test"] < 250
    grown = hold_out([*names, *(f"v{n}" for n in range(4000))], valid=0.1, test=0.05, seed=3)
    assert all(grown[name] == split for name, split in splits.items())
    assert hold_out(names, valid=0.1, test=0.05, seed=4) != splits
    assert sorted(hold_out("abc", valid=0.01, test=0.01, seed=0).values()) == ["test", "train", "valid"]
    assert set(hold_out(names, valid=0.0, test=0.0, seed=0).values()) == {"train"}
    assert hold_out("a", valid=0.01, test=0.01, seed=0) == {"a": "train"}


def test_table_of_corpora() -> None:
    assert sorted(PREPARERS) == [
        "asterisk", "flite", "folder", "librispeech", "ljspeech", "timit", "vctk", "zerospeech2019"
    ]  # fmt: skip
    assert preparer("folder") is folder
    with pytest.raises(UnknownName, match="vctk"):
        preparer("nope")
