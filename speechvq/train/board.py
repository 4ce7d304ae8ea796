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
    """Which codes were used since the epoch began, over all processes."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.epoch = 0

    def add(self, counts: Tensor | None, epoch: int) -> None:
        """(codebooks, codebook size) of one batch, or None; a new epoch begins at zero."""
        if counts is None:
            return
        if self.counts is None or epoch != self.epoch:
            self.counts = torch.zeros_like(counts)
            self.epoch = epoch
        self.counts += counts

    @property
    def sentence(self) -> str:
        """For a person: "431 of 512 codes used this epoch"."""
        if self.counts is None:
            return ""
        books, size = self.counts.shape
        of = f"{books} x {size}" if books > 1 else f"{size}"
        return f"{int((self.counts > 0).sum())} of {of} codes used this epoch"

    def figures(self, frame_rate: float | None) -> dict[str, float]:
        """Of the epoch so far: used share, perplexity, and bits per second if codes come at a rate."""
        if self.counts is None:
            return {}
        share = self.counts / self.counts.sum(1, keepdim=True).clamp(min=1)
        bits = -(share * share.clamp(min=1e-12).log2()).sum(1)
        found = {
            "codes/epoch_used": float((self.counts > 0).float().mean()),
            "codes/epoch_perplexity": float(2 ** bits.mean()),
        }
        return found | ({"codes/bitrate": float(bits.sum()) * frame_rate} if frame_rate else {})

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"counts": self.counts, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """From a checkpoint."""
        self.counts = None if state["counts"] is None else state["counts"].to(device)
        self.epoch = state["epoch"]


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
