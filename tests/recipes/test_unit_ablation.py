"""The ablation, small: two rows on invented speech, kept, made again only when asked otherwise."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvq.speech.audio import write_audio
from speechvq.store.manifest import Entry, write_manifest

RECIPE = Path(__file__).parents[2] / "recipes" / "unit_discovery"
CHORDS = {"aa": (700, 1200), "iy": (300, 2300), "s": (4500, 6000), "uw": (320, 900)}
SMALL = (
    "runtime.steps=3", "runtime.batch_size=4", "runtime.valid_every=3", "runtime.save_every=3",
    "data.seconds=0.4", "data.valid_seconds=0.4", "model.encoder.channels=16",
)  # fmt: skip


def _spoken(folder: Path, speaker: str, number: int, split: str) -> Entry:
    """A recording of 16 chords in random order, a tenth of a second each, and the file of their times."""
    phones = np.random.choice(list(CHORDS), 16)
    lift, time = (1.0 if speaker == "low" else 1.06), torch.arange(1600) / 16_000
    parts = [sum(torch.sin(2 * torch.pi * f * lift * time) for f in CHORDS[p]) for p in phones]
    path = folder / f"{speaker}{number}.wav"
    write_audio(path, 0.2 * torch.cat(parts)[None] + 0.003 * torch.randn(1, 16 * 1600), 16_000)
    lines = [f"{i / 10:.4f} {(i + 1) / 10:.4f} {p}" for i, p in enumerate(phones)]
    path.with_suffix(".phones").write_text("\n".join(lines) + "\n")
    text, alignment = "a red bowl", str(path.with_suffix(".phones"))
    return Entry(str(path), 0.0, 1.6, speaker, path.stem, split, text, alignment=alignment)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices; four recordings of each to learn from, two for validation, six to be scored."""
    folder = tmp_path_factory.mktemp("spoken")
    splits = ["train"] * 4 + ["valid"] * 2 + ["test"] * 6
    entries = [_spoken(folder, who, i, split) for who in ("low", "high") for i, split in enumerate(splits)]
    write_manifest(folder / "all.jsonl", entries)
    return folder / "all.jsonl"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    module = importlib.import_module("ablation")
    monkeypatch.setitem(importlib.import_module("ablation_score").SCORING, "sentences", 2)
    return module


def test_the_grid_is_every_combination_and_each_trains_what_it_says(recipe: ModuleType):
    rows = recipe.grid()
    assert len({row.name for row in rows}) == len(rows) == 4 * 3 * 2 * 2
    for row in rows:
        told = recipe.settings(row, Path("any.jsonl"))
        decoder = told["model"]["decoder"]
        assert told["quantizer"]["codebook_size"] == row.factors["codes"]
        assert told["model"]["encoder"]["frame_rate"] == row.factors["rate"]
        assert (decoder["jitter"] > 0) == (row.factors["jitter"] == "on")
        assert (decoder["voice_channels"] > 0) == (row.factors["speaker"] == "with")
    steps = {
        recipe.settings(row, Path("any.jsonl"))["runtime"]["steps"]
        for row in [*rows, recipe.PLAIN, recipe.BSHALL]
    }
    assert len(steps) == 1


def test_rows_are_made_kept_and_made_again_when_asked_otherwise(
    recipe: ModuleType, manifest: Path, tmp_path: Path
):
    pytest.importorskip("faster_whisper")
    slow, fast = "k64-25hz-jitter-on-with-", "k64-100hz-jitter-off-without-"
    for only in (slow, fast):
        recipe.main(manifest, tmp_path, recipe.Wish(only, more=SMALL))
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(row["codes"], row["rate"], row["speaker"]) for row in rows] == [
        (64, 25, "with"),
        (64, 100, "without"),
    ]
    for row in rows:
        assert 0 < row["bitrate"] <= 6 * row["rate"]
        assert row["deduplicated_bitrate"] <= row["bitrate"]
        assert 0 <= row["pnmi"] <= 1
        assert row["accuracy_held_out"] <= row["accuracy_same_data"] <= 1
        assert row["wer_median"] >= 0
        assert row["settings"]["runtime"]["steps"] == row["steps"] == 3
    assert not any((tmp_path / "runs").iterdir())
    page = (tmp_path / "results.md").read_text()
    assert page.count("| 64 |") == 2
    assert "| Hz: 100 | 1 |" in page
    assert (tmp_path / "results.png").stat().st_size > 5000

    kept = tmp_path / "rows" / f"{rows[0]['name']}.json"
    before = kept.stat().st_mtime_ns
    recipe.main(manifest, tmp_path, recipe.Wish(slow, more=SMALL))
    recipe.main(manifest, tmp_path, recipe.Wish(slow, minutes=0, more=(*SMALL, "seed=1")))
    assert kept.stat().st_mtime_ns == before
    kept.unlink()
    recipe.main(manifest, tmp_path, recipe.Wish(slow, more=SMALL))
    again = json.loads(kept.read_text())
    assert {k: v for k, v in again.items() if "seconds" not in k} == {
        k: v for k, v in rows[0].items() if "seconds" not in k
    }


def test_settings_that_differ_are_another_row(recipe: ModuleType, tmp_path: Path):
    (row,) = [row for row in recipe.grid() if row.name == "k64-25hz-jitter-on-with-speaker"]
    now, then = (recipe.settings(row, Path("any.jsonl"), more) for more in ((), ("seed=1",)))
    made = {"settings": now, "scoring": recipe.SCORING}
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / f"{row.name}.json").write_text(json.dumps(made))
    assert recipe._kept(tmp_path, row, now) == made
    assert recipe._kept(tmp_path, row, then) is None


def test_the_published_row_is_scored_beside_the_others(recipe: ModuleType, manifest: Path, tmp_path: Path):
    pytest.importorskip("faster_whisper")
    small = (*SMALL, "model.decoder.widths=tiny", "model.decoder.window=320")
    recipe.main(manifest, tmp_path, recipe.Wish("zerospeech", more=small))
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert "codes" not in row
    assert row["pnmi"] >= 0
    assert recipe.BSHALL.label in (tmp_path / "results.md").read_text()


def test_one_voice_is_not_enough(recipe: ModuleType, manifest: Path):
    scoring, store = (
        importlib.import_module("ablation_score"),
        importlib.import_module("speechvq.store.manifest"),
    )
    alone = [replace(e, speaker="low") for e in store.read_manifest(manifest)]
    with pytest.raises(importlib.import_module("speechvq.errors").BadSetting, match="has two"):
        scoring.opened(alone)
