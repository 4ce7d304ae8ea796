"""Weights and model folders: whole or not at all, and refused in a sentence."""

import json
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadCheckpoint
from speechvq.store import weights
from speechvq.store.weights import load_config, load_into, load_weights, save_folder, save_weights


def tensors() -> dict[str, torch.Tensor]:
    """Of every kind that a codec has."""
    torch.manual_seed(0)
    shared = torch.randn(3, 4)
    return {
        "weight": shared,
        "tied": shared,
        "transposed": torch.randn(5, 2).T,
        "large": torch.tensor([1e6, 1.0]),
        "count": torch.tensor(7),
        "on": torch.tensor([True, False]),
    }


def test_round_trip(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", tensors())
    loaded = load_weights(tmp_path / "a.safetensors")
    assert set(loaded) == set(tensors())
    for name, tensor in tensors().items():
        assert torch.equal(loaded[name], tensor)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_keeps_what_float16_cannot_hold(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", tensors(), half=True)
    loaded = load_weights(tmp_path / "a.safetensors")
    assert loaded["weight"].dtype == torch.float16
    assert torch.allclose(loaded["weight"].float(), tensors()["weight"], rtol=1e-3, atol=1e-4)
    assert torch.equal(loaded["large"], tensors()["large"])
    assert loaded["count"].dtype == torch.int64


@pytest.mark.parametrize("keep", [0, 3, 8, 20, 100, -1])
def test_truncated(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, tensors())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadCheckpoint, match="a.safetensors is truncated or is not"):
        load_weights(path)


def test_missing_and_foreign(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="is not there"):
        load_weights(tmp_path / "a.safetensors")
    torch.save(tensors(), tmp_path / "pickle.pt")
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        load_weights(tmp_path / "pickle.pt")


def test_folder(tmp_path: Path) -> None:
    line = torch.nn.Linear(2, 3)
    save_folder(tmp_path / "m", config={"a": 1}, tensors=line.state_dict(), card="# A card\n")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert load_config(tmp_path / "m") == {"a": 1}
    other = load_into(tmp_path / "m", lambda: torch.nn.Linear(2, 3))
    assert torch.equal(other.weight, line.weight)
    with pytest.raises(BadCheckpoint, match="does not hold the weights"):
        load_into(tmp_path / "m", lambda: torch.nn.Linear(2, 4))
    with pytest.raises(BadCheckpoint, match="does not hold the weights"):
        load_into(tmp_path / "m", lambda: torch.nn.Bilinear(2, 3, 1))
    with pytest.raises(BadCheckpoint, match="describes no model"):
        load_into(tmp_path / "m", lambda: torch.nn.Linear(-2, 4))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", json.dumps({"a": 1})[:-1]])
def test_bad_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadCheckpoint, match="config.json"):
        load_config(tmp_path)


def test_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no model called 'none'"):
        weights.shipped("none")
    monkeypatch.setattr(weights, "__file__", str(tmp_path / "speechvq" / "store" / "weights.py"))
    folder = tmp_path / "checkpoints" / "speech"
    save_folder(folder, config={}, tensors={})
    assert weights.shipped("speech") == folder.resolve()
