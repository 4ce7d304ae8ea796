"""Crops of a manifest: where they begin, what pads them, who speaks, and that they can be had again."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechvq.errors import BadAudio, BadManifest, BadSetting, UnknownName
from speechvq.speech.data import SpeechCorpus, SpeechDataSettings, open_corpus
from speechvq.speech.tracks import track_file
from speechvq.store.manifest import Entry, write_manifest

LENGTHS = {"a": 2.0, "b": 0.3, "c": 1.1}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three recordings that count upwards, so that a crop tells where it was cut, and a held-out one."""
    entries = []
    for utterance, seconds in LENGTHS.items():
        ramp = np.arange(int(seconds * 16000), dtype=np.int16)
        soundfile.write(tmp_path / f"{utterance}.wav", ramp, 16000, subtype="PCM_16")
        speaker = "zoe" if utterance == "a" else "al"
        entries.append(Entry(str(tmp_path / f"{utterance}.wav"), 0.0, seconds, speaker, utterance, "train"))
    entries.append(Entry(str(tmp_path / "a.wav"), 0.5, 1.0, "zoe", "held", "valid"))
    write_manifest(tmp_path / "m.jsonl", entries)
    return tmp_path / "m.jsonl"


def starts(wave: torch.Tensor) -> int:
    return round(float(wave[0]) * 32768)


@pytest.mark.parametrize("cache", [True, False])
def test_crops_begin_on_a_code_and_move_from_epoch_to_epoch(manifest, cache):
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest), seconds=0.5, cache=cache))
    data = corpus.split("train", hop=320, speakers=corpus.speakers)
    assert data.length == 8000
    begun = [starts(data[epoch, 0].wave) for epoch in range(20)]
    assert all(b % 320 == 0 for b in begun)
    assert max(begun) <= 32000 - 8000
    assert len(set(begun)) > 10
    again = SpeechCorpus(SpeechDataSettings(str(manifest), seconds=0.5, cache=not cache))
    other = again.split("train", hop=320, speakers=again.speakers)
    for key in [(3, 0), (0, 2), (9, 1)]:
        assert torch.allclose(data[key].wave, other[key].wave, atol=1e-4)


def test_the_seed_moves_the_crops(manifest):
    begun = []
    for seed in (0, 1):
        corpus = SpeechCorpus(SpeechDataSettings(str(manifest), seconds=0.5, seed=seed))
        data = corpus.split("train", hop=320, speakers=corpus.speakers)
        begun.append([starts(data[epoch, 0].wave) for epoch in range(5)])
    assert begun[0] != begun[1]


def test_a_short_recording_is_padded_and_masked(manifest):
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest), seconds=1.0))
    data = corpus.split("train", hop=64, speakers=corpus.speakers)
    batch = data.collate([data[0, i] for i in range(3)])
    assert batch.signal.shape == (3, 1, 16000)
    assert batch.mask is not None
    assert batch.mask.sum(1).tolist() == [16000, 4800, 16000]
    assert not batch.signal[1, 0, 4800:].any()
    whole = data.collate([data[0, 0], data[0, 2]])
    assert whole.mask is None


def test_voices_are_sorted_and_indexed_as_the_decoder_has_them(manifest):
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest)))
    assert corpus.speakers == ("al", "zoe")
    data = corpus.split("train", hop=64, speakers=("zoe", "al"))
    assert data.collate([data[0, i] for i in range(3)]).condition["speaker"].tolist() == [0, 1, 1]
    assert len(corpus.split("train", hop=64, speakers=("al",))) == 2
    one = SpeechCorpus(SpeechDataSettings(str(manifest), speakers=("al",)))
    assert one.speakers == ("al",)
    assert len(one.split("valid", hop=64, speakers=one.speakers)) == 0


def test_a_held_out_crop_is_the_beginning_of_its_part(manifest):
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest), valid_seconds=0.25))
    data = corpus.split("valid", hop=320, speakers=corpus.speakers)
    assert [starts(data[epoch, 0].wave) for epoch in (0, 5)] == [8000, 8000]


def test_pitch_is_measured_once_and_cut_with_the_wave(tmp_path):
    time = np.arange(32000) / 16000
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 8))
    wave = 0.2 * np.concatenate([tone[:16000], np.zeros(16000)])
    soundfile.write(tmp_path / "half.wav", wave, 16000)
    soundfile.write(tmp_path / "short.wav", wave[:4000], 16000)
    entries = [
        Entry(str(tmp_path / f"{name}.wav"), 0.0, seconds, "v", name, "train")
        for name, seconds in (("half", 2.0), ("short", 0.25))
    ]
    write_manifest(tmp_path / "m.jsonl", entries)
    settings = SpeechDataSettings(str(tmp_path / "m.jsonl"), seconds=0.5, pitch=True)
    data = SpeechCorpus(settings).split("train", hop=64, speakers=("v",))
    assert data.step == 320  # whole codes and whole pitch frames
    for epoch in range(5):
        item = data[epoch, 0]
        begin = next(b for b in range(0, 24001, 320) if np.allclose(wave[b : b + 8000], item.wave, atol=1e-4))
        assert item.pitch is not None
        assert item.pitch.shape == (50,)
        voiced = item.pitch > 0
        expected = torch.arange(50) + begin // 160 < 100
        assert (voiced == expected).float().mean() > 0.85
        assert not voiced.any() or abs(item.pitch[voiced].median() - 150) < 3
    short = data[0, 1].pitch
    assert short is not None
    assert (short[25:] == -1).all()
    kept = track_file(settings.manifest)
    before = kept.stat().st_mtime_ns
    SpeechCorpus(settings).split("train", hop=64, speakers=("v",))
    assert kept.stat().st_mtime_ns == before
    write_manifest(tmp_path / "m.jsonl", entries[:1], force=True)
    assert track_file(settings.manifest) != kept


def test_embeddings_by_speaker_and_utterance(manifest, tmp_path):
    stored = {"zoe/a": np.full(256, 1.0), "b": np.full(256, 2.0), "c": np.full(256, 3.0)}
    np.savez(tmp_path / "e.npz", **stored)
    settings = SpeechDataSettings(str(manifest), embeddings=str(tmp_path / "e.npz"))
    corpus = SpeechCorpus(settings)
    data = corpus.split("train", hop=64, speakers=corpus.speakers)
    batch = data.collate([data[0, i] for i in range(3)])
    assert batch.condition["embedding"].shape == (3, 256)
    assert batch.condition["embedding"][:, 0].tolist() == [1, 2, 3]
    with pytest.raises(BadManifest, match="zoe/held"):
        corpus.split("valid", hop=64, speakers=corpus.speakers)


def test_a_bad_recording_is_refused_or_left_out(manifest, caplog):
    (manifest.parent / "b.wav").write_bytes(b"not a sound")
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest)))
    with pytest.raises(BadAudio, match="b.wav"):
        corpus.split("train", hop=64, speakers=corpus.speakers)
    corpus = SpeechCorpus(SpeechDataSettings(str(manifest), skip_bad=True))
    data = corpus.split("train", hop=64, speakers=corpus.speakers)
    assert [entry.utterance for entry in data.entries] == ["a", "c"]
    assert "b.wav" in caplog.text


def test_settings_that_cannot_be_used(manifest, tmp_path):
    with pytest.raises(BadSetting, match="speechvq prepare"):
        open_corpus({}, rate=16000)
    with pytest.raises(BadSetting, match="seconds"):
        open_corpus({"manifest": str(manifest), "seconds": 0}, rate=16000)
    with pytest.raises(UnknownName, match="manifest, seconds"):
        open_corpus({"manifest": str(manifest), "second": 1}, rate=16000)
    with pytest.raises(BadManifest, match="no recording of eve"):
        open_corpus({"manifest": str(manifest), "speakers": ["eve"]}, rate=16000)
    write_manifest(tmp_path / "t.jsonl", [Entry("x.wav", 0.0, 1.0, "v", "u", "test")])
    with pytest.raises(BadManifest, match="'train'"):
        open_corpus({"manifest": str(tmp_path / "t.jsonl")}, rate=16000)
