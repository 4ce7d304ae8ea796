"""Linear probes: on features of which it is known what can be read, and on blocks of a prior of pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechvq.cli import main
from speechvq.codec import Codec
from speechvq.errors import BadCodes, BadSetting
from speechvq.image.data import open_corpus
from speechvq.nets.transformer import Depth
from speechvq.prior import GPTPrior, TransformerPrior
from speechvq.prior.conditions import Given
from speechvq.prior.gpt_settings import Reading
from speechvq.score.linear_probe import LinearProbeSettings, linear_probe
from speechvq.score.prior_probe import PriorProbes, probe_prior
from speechvq.store.arrays import Kind, write_arrays

type Labelled = tuple[np.ndarray, np.ndarray]


def blobs(count: int, apart: float, seed: int) -> Labelled:
    """Two classes, three times as many of the first: normal in five directions, ``apart`` in one of them."""
    draw = np.random.default_rng(seed)
    y = (draw.random(count) < 0.25).astype(np.int64)
    x = draw.standard_normal((count, 5))
    x[:, 2] += apart * y
    return (1000 + x * [1, 100, 0.01, 1, 1]).astype(np.float64), y


def best_possible(apart: float) -> float:
    """Share that nobody can exceed, by counting under the two densities."""
    grid = np.linspace(-10, 10 + apart, 20_001)
    density = lambda mean: np.exp(-((grid - mean) ** 2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    return float(np.maximum(0.75 * density(0), 0.25 * density(apart)).sum() * (grid[1] - grid[0]))


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5, 8.0])
def test_it_reads_what_can_be_read_and_no_more(apart: float):
    found = linear_probe(blobs(4000, apart, 1), blobs(8000, apart, 2))
    assert found.accuracy == pytest.approx(best_possible(apart), abs=0.015)
    assert found.majority == pytest.approx(0.75, abs=0.02)
    assert (found.features, found.train, found.test) == (5, 4000, 8000)


def test_what_no_line_parts_is_not_read():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((4000, 2))
    y = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")
    found = linear_probe((x[:2000], y[:2000]), (x[2000:], y[2000:]))
    assert found.accuracy < 0.7  # what a corner cut off gives
    product = x[:, :1] * x[:, 1:]
    assert linear_probe((product[:2000], y[:2000]), (product[2000:], y[2000:])).accuracy > 0.97


def test_the_strength_is_chosen_on_what_is_held_out():
    draw = np.random.default_rng(0)
    y = np.arange(2000) % 2
    x = draw.standard_normal((2000, 80))  # one number says something, and there are as many as pictures
    x[:, 0] += 3 * y
    train, test = (x[:150], y[:150]), (x[150:], y[150:])
    strengths = (1e-3, 1e-1, 1000.0)
    found = linear_probe(train, test, LinearProbeSettings(strengths))
    each = {c: linear_probe(train, test, LinearProbeSettings((c,))) for c in strengths}
    best = max(one.held_out for one in each.values())
    assert found.strength == min(c for c, one in each.items() if one.held_out == best) < 1000
    assert found == each[found.strength]
    assert each[1000.0].accuracy < found.accuracy


def test_equal_input_gives_equal_figures_and_scale_does_not_matter():
    train, test = blobs(600, 1.5, 3), blobs(600, 1.5, 4)
    first = linear_probe(train, test)
    assert linear_probe(train, test) == first
    moved = [(3 * x - 5, y) for x, y in (train, test)]
    again = linear_probe(moved[0], moved[1])
    assert again.accuracy == pytest.approx(first.accuracy, abs=0.005)
    other = linear_probe(train, test, LinearProbeSettings(seed=1))
    assert other.held_out != first.held_out
    same = np.ones((600, 1))
    assert linear_probe((same, train[1]), (same, test[1])).accuracy == first.majority


def test_wrong_settings_are_sentences():
    x, y = np.ones((4, 2)), np.array([1, 1, 1, 1])
    for train, test in (((x, y), (x, y)), ((x, np.arange(4)), (x[:0], y[:0])), ((x[:0], y[:0]), (x, y))):
        with pytest.raises(BadSetting, match="two classes to learn"):
            linear_probe(train, test)
    wrong: list[dict[str, Any]] = [
        {"strengths": ()},
        {"strengths": (0.0,)},
        {"held_out": 1.0},
        {"iterations": 0},
    ]
    for settings in wrong:
        with pytest.raises(BadSetting):
            LinearProbeSettings(**settings)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with labels (data; colour, 6 x 6 in RGB), some without (bare), a codec, priors over its codes.

    The label is where the picture is bright: above, below, at the left or at the right.
    """
    folder, draw = tmp_path_factory.mktemp("probes"), np.random.default_rng(0)
    sides = [np.s_[:4], np.s_[4:], np.s_[:, :4], np.s_[:, 4:]]
    for name, shape in (("data", (1, 8, 8)), ("bare", (1, 8, 8)), ("colour", (3, 6, 6))):
        names = {} if name == "bare" else {"label": ("top", "bottom", "left", "right")}
        kinds = {"picture": Kind(shape)} | ({"label": Kind((), "int64")} if names else {})
        with write_arrays(folder / name, {"train": 120, "test": 60}, kinds, names=names) as arrays:
            for split in arrays.values():
                for i in range(len(split["picture"])):
                    picture = draw.integers(0, 120, shape[1:])
                    picture[sides[i % 4]] += 100
                    split["picture"][i] = picture
                    if names:
                        split["label"][i] = i % 4
    torch.manual_seed(0)
    encoder = {"name": "vqvae", "dim": 8, "size": "tiny", "colours": 1}
    parts = {"encoder": encoder, "decoder": {"name": "vqvae", "size": "tiny", "colours": 1}}
    quantizer = {"name": "vector", "codebook_size": 32, "start": {"by": "data"}}
    codec = Codec.build({"room": "image", "rate": 1, "quantizer": quantizer} | parts)
    data = open_corpus({"root": str(folder / "data")}).split("train", hop=4)
    codec(data.collate([data[0, i] for i in range(64)]))  # its codes begin on these pictures
    codec.eval()
    codec.save_pretrained(folder / "codec")
    size = Depth(layers=2, width=32, heads=2, reach=16, positions="given", inner=24)
    for name, fingerprint in (("prior", codec.fingerprint), ("told", ""), ("other", "0" * 16)):
        given = (Given("label", 4, "label"),) if name == "told" else ()
        made = GPTPrior(32, size=size, given=given, reading=Reading((4, 4)), codec=fingerprint)
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.2)
        made.save_pretrained(folder / name)
    TransformerPrior(32, size=Depth(1, 16, 2)).save_pretrained(folder / "transformer")
    return folder


def load(place: Path, name: str = "prior") -> tuple[GPTPrior, Codec]:
    prior = GPTPrior.from_pretrained(place / name)
    assert isinstance(prior, GPTPrior)
    return prior, Codec.from_pretrained(place / "codec")


@torch.no_grad()
def by_hand(
    prior: GPTPrior, codec: Codec, data: Path, split: str, layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features of one block, picture by picture."""
    pictures = open_corpus({"root": str(data)}).split(split, hop=4)
    rows, labels = [], []
    for i in range(len(pictures)):
        batch = pictures.collate([pictures[0, i]])
        whole: Tensor = prior.features(codec.encode(batch.signal))[layer - 1]
        rows.append(sum(whole[0, p] for p in range(whole.shape[1])) / whole.shape[1])
        labels.append(int(batch.condition["label"]))
    return torch.stack(rows).numpy(), np.array(labels)


def test_each_block_is_probed_as_by_hand(place: Path):
    (prior, codec), corpus = load(place), open_corpus({"root": str(place / "data")})
    found = probe_prior(prior, codec, corpus)
    assert list(found.layers) == list(found.random) == [1, 2]
    train, test = (by_hand(prior, codec, place / "data", split, layer=2) for split in ("train", "test"))
    assert found.layers[2].accuracy == pytest.approx(linear_probe(train, test).accuracy, abs=0.06)
    assert (found.pixels.features, found.pixels.train, found.pixels.test) == (64, 120, 60)
    assert found.pixels.accuracy > 0.9
    assert found.pixels.majority == 0.25
    assert found.classes == 4
    assert found.random != found.layers
    assert probe_prior(prior, codec, corpus, layers=[2, 2]).layers == {2: found.layers[2]}
    few = probe_prior(prior, codec, corpus, layers=[1], pictures=50)
    assert (few.pixels.train, few.pixels.test) == (50, 50)
    assert not prior.training


def test_the_best_block_is_not_chosen_by_what_is_tested(place: Path):
    (prior, codec), corpus = load(place), open_corpus({"root": str(place / "data")})
    probes = probe_prior(prior, codec, corpus, pictures=60)
    held = {layer: probe.held_out for layer, probe in probes.layers.items()}
    assert held[probes.best] == max(held.values())
    swapped = PriorProbes(4, {1: probes.pixels, 2: probes.layers[probes.best]}, probes.random, probes.pixels)
    assert swapped.best == (2 if held[probes.best] > probes.pixels.held_out else 1)


def test_the_command_prints_and_writes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = ["score", "probe", str(place / "prior"), "--codec", str(place / "codec")]
    asked += ["--data", str(place / "data"), "--pictures", "60"]
    assert main([*asked, "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr().out
    for words in ("block 1", "block 2", "(chosen)", "raw pixels", "with random weights", "most frequent"):
        assert words in shown
    figures = json.loads((tmp_path / "a/probe.json").read_text())
    assert figures["pixels"]["train"] == 60
    assert set(figures["layers"]) == {"1", "2"}
    before = (tmp_path / "a/probe.json").read_bytes()
    assert main([*asked, "--out", str(tmp_path / "a"), "--seed", "3"]) == 2
    assert "already there" in capsys.readouterr().err
    assert (tmp_path / "a/probe.json").read_bytes() == before
    assert main([*asked, "--out", str(tmp_path / "a"), "--force"]) == 0
    assert (tmp_path / "a/probe.json").read_bytes() == before
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["probe.json"]
    capsys.readouterr()
    assert main([*asked, "--layers", "2"]) == 0
    assert "block 1" not in capsys.readouterr().out


def test_pictures_are_seen_as_the_codec_and_the_prior_learned_them(place: Path, tmp_path: Path):
    asked = ["score", "probe", str(place / "prior"), "--codec", str(place / "codec")]
    assert main([*asked, "--data", str(place / "colour"), "--size", "16x8", "--out", str(tmp_path)]) == 0
    corpus = open_corpus({"root": str(place / "colour"), "size": (8, 16), "channels": 1})
    figures = json.loads((tmp_path / "probe.json").read_text())
    assert figures["pixels"]["features"] == 8 * 16
    assert figures == json.loads(json.dumps(probe_prior(*load(place), corpus).plain()))


def test_bad_input_is_a_sentence(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def says(words: str, prior: str = "prior", data: str = "data", *more: str) -> None:
        asked = ["score", "probe", str(place / prior), "--codec", str(place / "codec")]
        assert main([*asked, "--data", str(place / data), "--out", str(tmp_path / "out"), *more]) == 2
        shown = capsys.readouterr().err
        assert words in " ".join(shown.split())
        assert "Traceback" not in shown
        assert not (tmp_path / "out").exists()

    says("have no labels", data="bare")
    says("6 x 6 pixels do not divide into codes of 4 pixels a side; give --size, a multiple", data="colour")
    says("--size 6x is not a size", "prior", "data", "--size", "6x")
    says("is told label", "told")
    says("trained on the codes of another codec", "other")
    says("blocks of a prior 'gpt', not of 'transformer'", "transformer")
    says("layers 1 to 2, not 3", "prior", "data", "--layers", "3")
    says("such as 1,3, not '1;2'", "prior", "data", "--layers", "1;2")
    says("", "nowhere")
    says("", "prior", "nowhere")
    prior, codec = load(place)
    with pytest.raises(BadSetting, match="cannot be drawn"):
        probe_prior(prior, codec, open_corpus({"root": str(place / "data")}), pictures=-1)
    with pytest.raises(BadSetting, match="sees 1 channels"):
        probe_prior(prior, codec, open_corpus({"root": str(place / "data"), "channels": 3}))
    with pytest.raises(BadCodes, match="another codec"):
        probe_prior(load(place, "other")[0], codec, open_corpus({"root": str(place / "data")}))
