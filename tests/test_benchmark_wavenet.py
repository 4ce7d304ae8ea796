"""The PyTorch contestants of the WaveNet benchmark say what the plain decoder says, and it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechvq.kernels import native
from speechvq.kernels.wavenet_plain import Network, decode, start


def test_the_contestants_speak_alike(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    from wavenet_eager import Restructured, Usual

    shapes = [(16, 6), (4, 12, 10), (4, 5, 6), (4, 6), (20, 8), (8,), (8, 9), (9,), (9, 16), (16,)]
    net = Network(*(torch.randn(*s) / s[0] ** 0.5 for s in shapes), dilations=(1, 2, 1, 2), levels=16)
    before, conditions = torch.tensor([3, 9]), torch.randn(2, 4, 10, 5)
    uniforms = torch.rand(2, 35, 1)
    exact = net.to(torch.float64)
    wanted = decode(exact, start(exact, before), conditions.double(), uniforms.double()).steps
    for speaker in (Usual(net), Restructured(net)):
        said = speaker.speak(before, conditions, uniforms)
        # A near tie, once in a thousand runs, would leave them different from there on.
        assert (said != wanted).any(1).sum() <= 1


@pytest.mark.skipif(not native.available(), reason="the kernels are not compiled here")
def test_it_measures_and_writes(checkout: Path, tmp_path: Path):
    out = tmp_path / "wavenet.json"
    words = [sys.executable, "benchmarks/wavenet.py", "--quick", "--rounds", "1", "--seconds", "0.001"]
    done = subprocess.run(
        [*words, "--json", str(out)], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(out.read_text())["networks"]
    assert found["weights"] == 864256
    assert {row["who"] for row in found["rows"]} >= {"our kernel", "PyTorch, as usual"}
    for row in found["rows"]:
        assert row["samples_per_second"] > 0
        if row["weights"] == "float32":
            assert row["first_equal_samples"] == 64
