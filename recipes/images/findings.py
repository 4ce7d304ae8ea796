"""What is found of models, and how it is kept: pictures told again, sheets, and figures."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from speechvq.codec import Codec
from speechvq.image.sheet import sheet
from speechvq.score.picture_features import picture_features
from speechvq.score.pictures import Moments, moments
from speechvq.store.atomic import atomic

TOGETHER = 32
"""Pictures at a time."""


def again(codec: Codec, pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as their codes tell them."""
    return torch.cat([codec.decode(codec.encode(some)) for some in pictures.split(TOGETHER)])


def looks(pictures: Tensor) -> Moments:
    """How pictures (B, C, H, W) look, for a Frechet distance of EfficientNet-Lite features."""
    return moments(picture_features(pictures.split(TOGETHER)))


def steps(runs: Path) -> dict[str, int]:
    """How many steps each model was trained."""
    logs = {path.parent.name: path.read_text().splitlines() for path in sorted(runs.glob("*/log.jsonl"))}
    return {name: max(json.loads(line)["step"] for line in lines) for name, lines in logs.items()}


def keep(pictures: Tensor, path: Path, *, columns: int) -> None:
    """A sheet as PNG."""
    with atomic(path) as temporary:
        Image.fromarray(sheet(pictures, columns=columns)).save(temporary, format="PNG")


def report(found: Mapping[str, object], out: Path) -> None:
    """All figures, to ``out/figures.json`` and on the screen."""
    text = json.dumps(found, indent=1)
    with atomic(out / "figures.json") as temporary:
        temporary.write_text(text + "\n")
    print(text)
