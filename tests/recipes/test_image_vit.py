"""The recipe of ViT-VQGAN on made-up models: codes are counted, probes read, and the page says it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvq.codec import Codec
from speechvq.image.data import open_corpus
from speechvq.nets.transformer import Depth
from speechvq.prior import GPTPrior
from speechvq.prior.gpt_settings import Reading
from speechvq.store.arrays import Kind, write_arrays

RECIPE = Path(__file__).parents[2] / "recipes" / "images"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    return importlib.import_module("vit")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Pictures (data), and in runs/ everything that vit.sh would have trained."""
    draw = np.random.default_rng(0)
    kinds, names = {"picture": Kind((1, 8, 8)), "label": Kind((), "int64")}, {"label": ("a", "b")}
    with write_arrays(tmp_path / "data", {"train": 70, "test": 30}, kinds, names=names) as arrays:
        for split in arrays.values():
            for i in range(len(split["label"])):
                split["label"][i] = i % 2
                split["picture"][i] = draw.integers(0, 150, (1, 8, 8)) + 100 * (i % 2)
    parts = {"encoder": {"name": "vqvae", "dim": 8, "size": "tiny", "colours": 1}}
    parts |= {"decoder": {"name": "vqvae", "size": "tiny", "colours": 1}}
    codecs = ("factorised", "factorised_at_once", "plain", "factorised_bare", "plain_bare")
    for name in (*codecs, "clothes", "clothes_vqgan"):
        quantizer = {"name": "vector", "codebook_size": 32, "start": {"by": "normal", "scale": 0.3}}
        codec = Codec.build({"room": "image", "rate": 1, "quantizer": quantizer} | parts)
        codec.save_pretrained(tmp_path / "runs" / name / "codec")
    size = Depth(layers=2, width=16, heads=2, reach=16, positions="given")
    for name in ("vim", "gpt"):
        GPTPrior(32, size=size, reading=Reading((4, 4))).save_pretrained(tmp_path / "runs" / name / "prior")
        (tmp_path / "runs" / name / "log.jsonl").write_text('{"step": 7, "split": "train"}\n')
    return tmp_path


def test_codes_are_counted_over_all_pictures(recipe: ModuleType, place: Path):
    data = open_corpus({"root": str(place / "data")}).split("train", hop=4)
    codec = Codec.from_pretrained(place / "runs/plain/codec")
    found, expected = recipe.counts(codec, data, "plain"), [0] * 32
    for i in range(len(data)):
        for code in codec.encode(data.collate([data[0, i]]).signal).indices.flatten().tolist():
            expected[code] += 1
    assert found.tolist() == expected
    assert sum(expected) == 70 * 4


def test_from_models_to_the_page(recipe: ModuleType, place: Path):
    data, out = str(place / "data"), place / "figures" / "vit"
    torch.manual_seed(0)
    recipe.main(place / "runs", data, data, out, 24)
    found = json.loads((out / "figures.json").read_text())
    assert found["steps"] == {"gpt": 7, "vim": 7}
    for row in found["codebooks"].values():
        assert row["codes looked up"] == 280
        assert 1 / 32 <= row["used"] <= 1
        assert 1 <= row["perplexity"] <= 32 * row["used"] + 1e-6
    assert found["features"]["vim"]["pixels"] == found["features"]["gpt"]["pixels"]
    assert {path.name for path in out.iterdir()} == {
        "figures.json", "codes.png", "clothes.png", "vim.png", "gpt.png",
    }  # fmt: skip
    importlib.import_module("results").main(out / "figures.json", place / "results.md")
    page = (place / "results.md").read_text()
    best = found["features"]["vim"]["layers"][str(found["features"]["vim"]["best"])]["accuracy"]
    for words in (
        "32 channels of length one, at random",
        f"{best:.1%}",
        "raw pixels",
        f"the mean of each patch, for comparison | | | | {found['means']:.2f}",
        "vim 7",
        "pictures/vit-codes.png",
    ):
        assert words in page
    assert (place / "pictures/vit-codes.png").is_file()
