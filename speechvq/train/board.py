"""What a run shows: figures as JSON lines and on TensorBoard, sounds and pictures on TensorBoard.

Loss names are the objective's own ("sound/stft"), under "train/" and "valid/".
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from speechvq.quantize import Health
from speechvq.store.atomic import atomic


class Medium(Protocol):
    """Something to hear, see or read.

    ``kind`` "audio": array (n,) float in [-1, 1] at ``rate`` Hz; "image": (H, W) or (H, W, 3) uint8;
    "text": a string.
    """

    @property
    def tag(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def array(self) -> np.ndarray | str: ...  # noqa: D102
    @property
    def rate(self) -> int: ...  # noqa: D102


class Board:
    """The figures and media of one run folder."""

    def __init__(self, folder: str | Path, *, step: int = 0) -> None:
        """``step`` at which the run begins: what an interrupted run wrote beyond it is taken back."""
        self.lines = Path(folder) / "log.jsonl"
        _cut(self.lines, step)
        self.writer = SummaryWriter(str(Path(folder) / "board"), purge_step=step + 1 if step else None)

    def figures(self, split: str, figures: Mapping[str, float], step: int) -> None:
        """Named numbers of "train" or "valid" at a step."""
        for name, value in figures.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)
        with self.lines.open("a") as file:
            file.write(json.dumps({"step": step, "split": split, **figures}) + "\n")

    def show(self, media: Iterable[Medium], step: int) -> None:
        """Sounds, pictures and words at a step."""
        for one in media:
            if isinstance(one.array, str):
                self.writer.add_text(one.tag, one.array, step)
            elif one.kind == "audio":
                self.writer.add_audio(one.tag, one.array[None], step, sample_rate=one.rate)
            else:
                layout = "HW" if one.array.ndim == 2 else "HWC"
                self.writer.add_image(one.tag, one.array, step, dataformats=layout)

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()


class CodeUse:
    """The health of the codebooks since the epoch began, over all processes."""

    def __init__(self) -> None:
        self.health, self.epoch = Health(), 0

    def add(self, stats: Mapping[str, Tensor] | None, epoch: int) -> None:
        """A quantizer's stats of one batch, or None; a new epoch begins anew."""
        if stats is None:
            return
        if epoch != self.epoch:
            self.health, self.epoch = Health(), epoch
        self.health.add(stats)

    @property
    def sentence(self) -> str:
        """For a person: "431 of 512 codes used this epoch"."""
        if self.health.counts is None:
            return ""
        books, size = self.health.counts.shape
        of = f"{books} x {size}" if books > 1 else f"{size}"
        return f"{books * size - self.health.figures().dead} of {of} codes used this epoch"

    def figures(self, frame_rate: float | None) -> dict[str, float]:
        """Of the epoch so far, see `HealthFigures`, and bits per second if codes come at a rate."""
        if self.health.counts is None:
            return {}
        health = self.health.figures()
        found = {f"codes/epoch_{name}": value for name, value in health.scalars().items()}
        return found | ({"codes/bitrate": health.bits * frame_rate} if frame_rate else {})

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"health": self.health.state_dict(), "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """From a checkpoint; one that holds no health begins its epoch's figures anew."""
        self.health, self.epoch = Health(), state["epoch"]
        if "health" in state:
            self.health.load_state_dict(state["health"], device)


def _cut(lines: Path, step: int) -> None:
    """Keep the lines up to ``step``; one that was broken off in the middle goes too."""
    if not lines.is_file():
        return
    kept = []
    for line in lines.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue
    with atomic(lines) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept))
