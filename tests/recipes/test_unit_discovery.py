"""The comparison of units, whole, on invented speech: two voices, phones that are chords."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvq import Codec
from speechvq.score.segments import collapse
from speechvq.score.streams import encode_streams
from speechvq.score.unit_lists import joint_csv
from speechvq.score.unit_scores import score_units
from speechvq.speech.audio import write_audio
from speechvq.store.alignments import align_entries
from speechvq.store.manifest import Entry, write_manifest

RECIPE = Path(__file__).parents[2] / "recipes" / "unit_discovery"
CHORDS = {"aa": (700, 1200), "iy": (300, 2300), "s": (4500, 6000), "uw": (320, 900)}
PHONE = 0.1


def spoken(folder: Path, speaker: str, number: int, split: str) -> Entry:
    """A recording of phones in random order, with the file of their times."""
    phones = np.random.choice(list(CHORDS), 12)
    lift = 1.0 if speaker == "low" else 1.06
    time = torch.arange(int(16_000 * PHONE)) / 16_000
    parts = [sum((torch.sin(2 * torch.pi * f * lift * time) for f in CHORDS[p]), 0 * time) for p in phones]
    wave = 0.2 * torch.cat(parts) + 0.003 * torch.randn(12 * len(time))
    path = folder / f"{speaker}{number}.wav"
    write_audio(path, wave[None], 16_000)
    lines = [f"{i * PHONE:.4f} {(i + 1) * PHONE:.4f} {p}" for i, p in enumerate(phones)]
    path.with_suffix(".phones").write_text("\n".join(lines) + "\n")
    duration = len(wave) / 16_000
    alignment = str(path.with_suffix(".phones"))
    return Entry(str(path), 0.0, duration, speaker, path.stem, split, alignment=alignment)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    folder = tmp_path_factory.mktemp("spoken")
    splits = ["train"] * 6 + ["valid"] * 2 + ["test"] * 6
    return [spoken(folder, who, i, split) for who in ("low", "high") for i, split in enumerate(splits)]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    return importlib.import_module("compare")


def test_k_means_finds_what_is_easy(recipe: ModuleType, entries: list[Entry]):
    parts = recipe.chosen(entries, 100, 100)
    assert {name: len(part) for name, part in parts.items()} == {"train": 12, "valid": 4, "test": 12}
    measure = importlib.import_module("measure")
    for baseline in recipe.BASELINES:
        units = recipe.theirs(baseline, parts, 16)
        row = measure.row(units)
        assert (row["rate"], row["codes"], row["recordings"]) == (50, 16, 12)
        assert row["pnmi"] > 0.5
        assert row["accuracy_held_out"] > 0.6 > row["accuracy_majority"]
        assert row["abx_latents_across"] < 25
        assert row["bitrate"] <= 200
        for stream, entry in zip(units.test, parts["test"], strict=True):
            assert len(stream) == int(entry.duration * 50)
            apart = ((stream.latents[:, None] - units.codes) ** 2).sum(2)
            chosen = apart[np.arange(len(stream)), stream.units]
            np.testing.assert_allclose(chosen, apart.min(1), rtol=1e-3, atol=1e-3)


def test_a_row_of_each_kind_and_the_page(
    recipe: ModuleType, tiny_codec: Path, entries: list[Entry], tmp_path: Path
):
    manifest = tmp_path / "speech.jsonl"
    write_manifest(manifest, entries, force=True)
    rows = []
    for way in ("codec", "mfcc"):
        recipe.main(way, tiny_codec, manifest, tmp_path / f"{way}.json", train=6, valid=2)
        rows.append(json.loads((tmp_path / f"{way}.json").read_text()))
    assert [row["name"] for row in rows] == ["ours", "k-means, mfcc"]
    assert rows[0]["codec"] == Codec.from_pretrained(tiny_codec).fingerprint
    assert rows[0]["codes"] == rows[1]["codes"] == 32
    for row in rows:
        assert row["map_recordings"] == 6
        for target in ("phone", "speaker"):
            for kind in ("linear", "mlp"):
                assert 0 <= row[f"probe_{target}_{kind}_quantized"] <= 1
    page = importlib.import_module("page")
    text = page.page(page.Found(rows))
    assert text.count("\n| k-means, mfcc |") == text.count("\n| ours |") == 7
    assert page.aims(rows)[0][3] == (rows[0]["bitrate"] <= 450)


def test_aims_are_met_only_by_what_is_better(recipe: ModuleType):
    page = importlib.import_module("page")
    names = ("pnmi", "abx_quantized_across", "abx_one-hot_across")
    for _ in range(20):
        rows = [
            {"name": name, "bitrate": 400 + 100 * np.random.rand()}
            | dict(zip(names, np.random.rand(3), strict=True))
            for name in ("ours", "k-means, mfcc", "k-means, log-mel", "k-means, mfcc, normalised")
        ]
        met = [met for *_, met in page.aims(rows)]
        ours, plain, _, normalised = rows
        wanted = [ours["bitrate"] <= 450]
        for row in (plain, normalised):
            wanted += [ours["pnmi"] > row["pnmi"], *(ours[name] < row[name] for name in names[1:])]
        assert met == wanted
        assert page.aims([ours, ours | {"name": "mfcc"}])[1][3] is False


def test_one_voice_with_few_recordings(
    recipe: ModuleType, tiny_codec: Path, entries: list[Entry], tmp_path: Path
):
    own = [entry for entry in entries if entry.speaker == "low"]
    dealt = recipe.few(own)
    assert {e.utterance for e in dealt} == {e.utterance for e in own}
    test = {e.utterance for e in dealt if e.split == "test"}
    assert test == {e.utterance for e in own if e.split != "train"}
    manifest = tmp_path / "speech.jsonl"
    write_manifest(manifest, entries, force=True)
    recipe.main("mfcc", tiny_codec, manifest, tmp_path / "row.json", speaker="low")
    row = json.loads((tmp_path / "row.json").read_text())
    assert row["recordings"] == len(test)
    assert "abx_quantized_within" in row
    assert not any("across" in name or "probe_speaker" in name for name in row)


def test_voices_without_phones(recipe: ModuleType, tiny_codec: Path, entries: list[Entry], tmp_path: Path):
    manifest = tmp_path / "speech.jsonl"
    write_manifest(manifest, entries, force=True)
    recorded = importlib.import_module("recorded")
    recorded.main(tiny_codec, manifest, tmp_path / "voices.json", ["valid", "test"])
    high, low, both = json.loads((tmp_path / "voices.json").read_text())
    assert [row["name"] for row in (high, low, both)] == ["high", "low", "all together"]
    for name in ("recordings", "frames", "seconds"):
        assert both[name] == pytest.approx(high[name] + low[name])
    shares = [row["frames"] / both["frames"] for row in (high, low)]
    apart = sum(share * row["bits_apart"] for share, row in zip(shares, (high, low), strict=True))
    assert both["speaker_information"] == pytest.approx(apart, abs=1e-6)
    streams = encode_streams(Codec.from_pretrained(tiny_codec), [e for e in entries if e.split != "train"])
    longer = sum(run.end - run.start > 1 for stream in streams for run in collapse(stream))
    assert both["longer"] == pytest.approx(longer / sum(len(collapse(stream)) for stream in streams))


def test_runs_are_alike_to_themselves(
    recipe: ModuleType, tiny_codec: Path, entries: list[Entry], tmp_path: Path
):
    manifest = tmp_path / "speech.jsonl"
    write_manifest(manifest, entries, force=True)
    alike = importlib.import_module("alike")
    alike.main(tiny_codec, manifest, tmp_path / "alike.json", others=[tiny_codec], train=6)
    rows = json.loads((tmp_path / "alike.json").read_text())
    assert rows[0]["ami"] == pytest.approx(1)
    assert rows[0]["one_to_one"] == 1
    seeds = next(row for row in rows if row["name"] == "k-means, mfcc: two seeds")
    assert 0.2 < seeds["ami"] < 1


def test_pictures(recipe: ModuleType, tiny_codec: Path, entries: list[Entry], tmp_path: Path):
    pictures = importlib.import_module("pictures")
    some = entries[:4]
    codec = Codec.from_pretrained(tiny_codec)
    scores = score_units(encode_streams(codec, some, align_entries(some)), codebook_size=32)
    (tmp_path / "units.json").write_text(scores.as_json({}))
    (tmp_path / "joint.csv").write_text(joint_csv(scores.joint))
    read = pictures.read_joint(tmp_path / "joint.csv")
    assert (read.phones, read.units) == (scores.joint.phones, scores.joint.units)
    np.testing.assert_array_equal(read.counts, scores.joint.counts)
    pictures.main(tiny_codec, tmp_path, tmp_path / "out")
    for name in pictures.PICTURES:
        content = (tmp_path / "out" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 2_000 < len(content) < 300_000
