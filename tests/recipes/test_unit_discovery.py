"""The comparison of units, whole, on invented speech: two voices, phones that are chords."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvq.speech.audio import write_audio
from speechvq.store.manifest import Entry

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


def test_the_page_has_a_row_for_each_and_made_rows_stay(
    recipe: ModuleType,
    tiny_codec: Path,
    entries: list[Entry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(recipe, "BASELINES", recipe.BASELINES[:1])
    monkeypatch.setattr(recipe, "read_manifest", lambda path: entries)
    arguments = (tiny_codec, tmp_path / "speech.jsonl", tmp_path / "out", tmp_path / "results.md")
    recipe.main(*arguments, train=6, valid=2)
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["name"] for row in rows] == ["ours", "k-means, mfcc"]
    page = (tmp_path / "results.md").read_text()
    assert page.count("| k-means, mfcc |") == page.count("| ours |") == 5
    made = sorted((tmp_path / "out" / "rows-6-2-12").iterdir())
    times = [path.stat().st_mtime_ns for path in made]
    recipe.main(*arguments, train=6, valid=2)
    assert len(made) == 2
    assert [path.stat().st_mtime_ns for path in made] == times
