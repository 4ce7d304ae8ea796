"""Recipes are scripts, some with the same names: none stays imported for the next test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name, module in list(sys.modules.items()):
        if RECIPES in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]
