"""From a manifest and a codec to a folder of scores."""

import json
from dataclasses import replace

import pytest
import torch

from speechvq.codec import Codec
from speechvq.errors import BadSetting, UnknownSpeaker, WouldOverwrite
from speechvq.quantize import VectorQuantizer
from speechvq.score.choice import choose, parallel, references
from speechvq.score.conversion import score_conversion
from speechvq.speech.encoder import MelEncoder
from speechvq.speech.spectral import SpectralDecoder
from speechvq.store.manifest import Entry


@pytest.fixture(scope="module")
def codec() -> Codec:
    """Untrained: it makes noises."""
    torch.manual_seed(0)
    encoder = MelEncoder(16, channels=16)
    decoder = SpectralDecoder(("rms", "slt"), dim=16, size="tiny")
    return Codec(encoder, VectorQuantizer(16, 32), decoder, room="speech", rate=16_000).eval()


def test_a_folder_of_scores(entries, codec, tmp_path):
    scores = score_conversion(entries, codec, None, tmp_path, limit=1)
    assert len(scores.rows) == 1
    row = scores.rows[0]
    assert {row.pair.source_speaker, row.pair.target_speaker} == {"slt", "rms"}
    assert row.score.source_wer == 0.0
    assert row.score.mcd is not None
    assert abs(row.score.duration_difference) < 0.05
    assert {p.name for p in tmp_path.iterdir()} == {"scores.json", "rows.csv", "index.html", "sound"}
    assert len(list((tmp_path / "sound").glob("*.wav"))) == 1
    parts = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert parts["about"]["codec"] == codec.fingerprint
    assert parts["about"]["frame_rate"] == 50
    assert 0 < parts["codes"]["bitrate"] <= 250
    found = scores.units[row.pair.source_speaker, "s1"]
    assert found[0].start == 0
    assert found[-1].end == int(row.score.seconds * 50)
    with pytest.raises(WouldOverwrite, match="scores.json"):
        score_conversion(entries, codec, None, tmp_path, limit=1)


def test_what_cannot_be_scored_is_said_before_any_work(entries, codec, tmp_path):
    with pytest.raises(UnknownSpeaker, match="no voice called 'kal'"):
        score_conversion(entries, codec, ["kal"], tmp_path)
    train = [replace(entry, split="train") for entry in entries]
    with pytest.raises(BadSetting, match="no entries of split 'test'"):
        score_conversion(train, codec, None, tmp_path)
    with pytest.raises(BadSetting, match="no recordings of 'rms' beside"):
        score_conversion(entries[:3], codec, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def made(speaker: str, number: int, *, split: str = "test", duration: float = 2.0) -> Entry:
    return Entry(f"{speaker}/{number}.wav", 0.0, duration, speaker, f"u{number}", split)


def test_choice_is_even_over_voices_and_repeatable():
    entries = [made(v, n) for v, count in (("a", 30), ("b", 5), ("c", 9)) for n in range(count)]
    chosen = choose(entries, limit=12, seed=1)
    assert [e.speaker for e in chosen] == ["a", "b", "c"] * 4
    assert chosen == choose(entries, limit=12, seed=1) != choose(entries, limit=12, seed=2)
    assert len(choose(entries, limit=None)) == 44
    assert len({e.path for e in choose(entries, limit=None)}) == 44


def test_references_never_say_what_is_converted_and_short_ones_come_last():
    entries = [made("a", n, split="train", duration=0.5 if n % 2 else 3.0) for n in range(20)]
    avoid = [made("b", n) for n in (0, 2, 4, 6, 8, 10)]
    found = references(entries, "a", avoid=avoid)
    assert len(found) == 8
    assert not {clip.path for clip in found} & {entry.path.replace("b/", "a/") for entry in avoid}
    assert [clip.duration for clip in found] == [3.0] * 4 + [0.5] * 4


def test_parallel_recordings_say_the_same_words(entries):
    clip = parallel(entries, entries[0], "rms")
    assert clip is not None
    assert clip.path == entries[1].path
    other = [entries[0], replace(entries[1], text="Something else.")]
    assert parallel(other, entries[0], "rms") is None
    assert parallel(entries, entries[0], "awb") is None
