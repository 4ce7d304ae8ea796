"""The samples that are kept are those of which the judge is surest, class by class."""

import importlib
from pathlib import Path

import pytest
import torch

RECIPE = Path(__file__).parents[2] / "recipes" / "images"


@torch.no_grad()
def test_the_surest_of_each_class_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    fashion = importlib.import_module("fashion")
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    labels, pictures = torch.arange(3).repeat_interleave(50), torch.randn(150, 1, 2, 2)
    best = fashion.choicest(judge, pictures, labels)
    assert best.shape == (3, fashion.EACH, 1, 2, 2)
    for label in range(3):
        own = list(pictures[50 * label : 50 * label + 50])
        own.sort(key=lambda one: float(judge(one[None]).softmax(1)[0, label]), reverse=True)
        assert torch.equal(best[label], torch.stack(own[: fashion.EACH]))
