"""Weights on disk: safetensors and JSON, written whole or not at all, refused in a sentence.

A model folder is ``config.json`` (names and settings), ``model.safetensors`` and ``README.md`` (the
card). Nothing in it can run code.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from speechvq.errors import BadCheckpoint
from speechvq.store.atomic import atomic, refuse

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_weights(path: str | Path, tensors: Mapping[str, Tensor], *, half: bool = False) -> None:
    """Write named tensors to a safetensors file, atomically.

    ``half`` stores float32 as float16 (half the bytes, about three decimal digits), except tensors
    with values that float16 cannot hold.
    """
    kept = {}
    for name, tensor in tensors.items():
        # A copy of its own: safetensors refuses tensors that share memory.
        tensor = tensor.detach().cpu().contiguous().clone()
        if half and tensor.dtype == torch.float32:
            small = tensor.half()
            tensor = small if torch.isfinite(small).all() else tensor
        kept[name] = tensor
    with atomic(path) as temporary:
        temporary.write_bytes(save(kept))  # its own writer leaves a file that only the owner can read


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file, on the CPU; `BadCheckpoint` if it is not one."""
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"{path} is not there; a model folder holds {CONFIG} and {WEIGHTS}")
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise BadCheckpoint(
            f"{path} is truncated or is not a safetensors file ({error}); copy it again from where it came"
        ) from error


def save_folder(
    folder: str | Path,
    *,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str | None = None,
    half: bool = False,
) -> None:
    """Write a model folder; the three files are each replaced as a whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, tensors, half=half)
    with atomic(folder / CARD) as temporary:
        temporary.write_text(card or "A model of speechvq; its settings are in config.json.\n")
    with atomic(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def refuse_folder(folder: str | Path, *, force: bool) -> None:
    """Raise `WouldOverwrite` now if a file lies where `save_folder` would write one, and not ``force``."""
    for name in (CONFIG, WEIGHTS, CARD):
        refuse(Path(folder) / name, force=force)


def load_config(folder: str | Path) -> dict[str, Any]:
    """The mapping in a model folder's ``config.json``; `BadCheckpoint` if there is none."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise BadCheckpoint(f"{folder} is not a model folder: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is truncated or is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise BadCheckpoint(f"{path} must hold one JSON object with the model's settings")
    return config


def load_into[M: nn.Module](folder: str | Path, build: Callable[[], M]) -> M:
    """What ``build`` makes, with the weights of ``folder``; `BadCheckpoint` if they do not fit."""
    try:
        module = build()
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise BadCheckpoint(f"{Path(folder) / CONFIG} describes no model ({error})") from error
    path = Path(folder) / WEIGHTS
    try:
        module.load_state_dict(load_weights(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{path} does not hold the weights that {CONFIG} describes ({reason})") from error
    return module


def shipped(name: str = "speech") -> Path:
    """The folder of a model that comes with speechvq: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    places = [package / "checkpoints" / name, package.parent / "checkpoints" / name]
    for place in places:
        if (place / CONFIG).is_file():
            return place
    raise BadCheckpoint(
        f"no model called {name!r} came with this installation; name the folder of one "
        "with --codec, or train one with: speechvq train experiment=speech"
    )
