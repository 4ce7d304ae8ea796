"""The priors of the unit recipe, whole, on invented speech and a codec with random weights."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from speechvq import Codec
from speechvq.errors import SpeechVQError
from speechvq.speech.audio import read_audio, write_audio
from speechvq.store.manifest import Entry, write_manifest

RECIPE = Path(__file__).parents[2] / "recipes" / "unit_discovery"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    module = importlib.import_module("prior")
    monkeypatch.setattr(module, "SECONDS", 0.4)
    return module


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    entries = []
    for i, split in enumerate(["train"] * 4 + ["valid"] * 2 + ["test"] * 4):
        path = tmp_path / f"{i}.wav"
        write_audio(path, 0.2 * torch.randn(1, 6400 + 400 * i), 16_000)
        seconds = 0.4 + 0.025 * i
        entries.append(Entry(str(path), 0.0, seconds, ("kal", "slt")[i % 2], f"u{i}", split))
    write_manifest(tmp_path / "all.jsonl", entries)
    return tmp_path / "all.jsonl"


def test_both_are_trained_scored_and_heard_once(
    recipe: ModuleType, manifest: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, results = tmp_path / "out", tmp_path / "results.md"
    recipe.main(tiny_codec, manifest, out, results, steps=2)
    words = results.read_text()
    for name in ("uniform", "unigram", "bigram", "trigram", "WaveNet prior", "transformer prior"):
        assert f"| {name}" in words, name
    assert "| uniform | 5.000 | 250.0 | 32.0 |  |" in words  # 32 codes, 50 a second
    sounds = {path.name: read_audio(path).shape[1] for path in out.glob("*.wav")}
    for name in ("wavenet", "transformer"):
        assert sounds[f"{name}-babble-kal.wav"] == sounds[f"{name}-babble-slt.wav"] == 6400
        assert sounds[f"{name}-after-u6-kal.wav"] >= 6400 + 6400 + 6 * 400 - 320
        assert f"{name}-after-u7-slt.wav" in sounds
    assert len(sounds) == 8

    def forbidden(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(recipe, "train", forbidden)
    recipe.main(tiny_codec, manifest, out, results, steps=2)
    assert results.read_text() == words


def test_one_that_was_stopped_goes_on(
    recipe: ModuleType, manifest: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name, folder = "transformer", tmp_path / "run"
    ask = recipe.compose

    def briefly(told: list[str]) -> object:
        return ask([*told, "runtime.max_minutes=0.00001", "runtime.save_every=1"])

    monkeypatch.setattr(recipe, "compose", briefly)
    with pytest.raises(SystemExit, match="start again to go on"):
        recipe.trained(name, folder, tiny_codec, manifest, 3)
    assert not (folder / "trained").exists()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(RECIPE))
    prior = recipe.trained(name, folder, tiny_codec, manifest, 3)
    assert prior.codec == Codec.from_pretrained(tiny_codec).fingerprint
    assert '"step": 3,' in (folder / "log.jsonl").read_text()
    assert (folder / "trained").exists()


def test_no_voice_of_the_codec_is_a_sentence(
    recipe: ModuleType, manifest: Path, tiny_codec: Path, tmp_path: Path
):
    strange = manifest.read_text().replace('"kal"', '"eve"').replace('"slt"', '"eve"')
    (tmp_path / "strange.jsonl").write_text(strange)
    with pytest.raises(SpeechVQError, match="no recording of the split train"):
        recipe.main(tiny_codec, tmp_path / "strange.jsonl", tmp_path / "out", tmp_path / "r.md", steps=1)
