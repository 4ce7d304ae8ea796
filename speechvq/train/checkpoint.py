"""Checkpoints of a run: written whole or not at all, kept by number, and exact to the last bit.

A checkpoint holds tensors and plain values only, so that it can be opened without running anything
that came with the file. Names: ``latest.pt``, ``best.pt``, ``step-00001000.pt``.
"""

import logging
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechvq.errors import BadCheckpoint
from speechvq.store.atomic import atomic

log = logging.getLogger(__name__)
FORMAT = 1


class Checkpoints:
    """The checkpoints in one folder."""

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        """Beside latest and best, the ``keep`` newest step-N stay."""
        self.folder, self.keep = Path(folder), keep

    @property
    def latest(self) -> Path:
        """Where the newest is, if there is one."""
        return self.folder / "latest.pt"

    def steps(self) -> list[Path]:
        """The step-N files, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> None:
        """Write ``state`` as step-N and latest, and as best if it is that.

        Raises:
            BadCheckpoint: the disk did not take it; the checkpoints before are untouched.
        """
        path = self.folder / f"step-{step:08d}.pt"
        try:
            with atomic(path) as temporary:
                torch.save({"format": FORMAT, **state}, temporary)
            for name in ("latest", "best") if best else ("latest",):
                with atomic(self.folder / f"{name}.pt") as temporary:
                    _link(path, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise BadCheckpoint(
                f"step {step} could not be saved in {self.folder} ({error}); the earlier checkpoints are "
                "as they were: make room and go on with resume=true"
            ) from error
        for old in self.steps()[: -self.keep]:
            old.unlink(missing_ok=True)

    def load(self, path: Path | None = None) -> dict[str, Any]:
        """The state in ``path``, or in the latest, on the CPU.

        Raises:
            BadCheckpoint: it is missing, damaged or not a checkpoint of ours.
        """
        path = path or self.latest
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise BadCheckpoint(f"there is no checkpoint {path}") from error
        except Exception as error:  # a damaged file fails in a dozen ways, from zipfile to pickle
            others = ", ".join(p.name for p in self.steps()) or "none"
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise BadCheckpoint(
                f"{path} is damaged ({reason}); copy another checkpoint over it (there are: {others}) "
                "and resume again"
            ) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise BadCheckpoint(f"{path} is not a checkpoint of a run, or of another version")
        return state


def random_state() -> dict[str, Any]:
    """The state of every source of randomness of this process, as tensors and plain values."""
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "numpy": [str(kind), torch.from_numpy(np.array(keys, np.int64)), place, has_gauss, gauss],
        "python": [version, list(internal), following],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Bring back what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, internal, following = state["python"]
    random.setstate((version, tuple(internal), following))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever draws inside (an evaluation, a picture), training goes on with the draws it would have had."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
