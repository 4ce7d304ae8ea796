"""A foreign checkpoint: opened without running anything that is in it, or refused in a sentence; and written.

A torch checkpoint is a pickle, which can run code when it is opened. It is opened here with
``weights_only=True``, which builds tensors and plain containers and stops at anything else.
"""

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechvq.errors import BadCheckpoint
from speechvq.store.atomic import atomic, refuse

type Tensors = dict[str, Tensor]


def open_checkpoint(path: str | Path, *, kind: str, remedy: str = "") -> dict[str, Any]:
    """The mapping in a torch checkpoint, on the CPU.

    Args:
        path: the file.
        kind: what it should be, in the sentence.
        remedy: what to do about a file that holds more than tensors, if not to get the published one.

    Raises:
        BadCheckpoint: it is missing, truncated, not a torch checkpoint, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        there = "a folder" if path.is_dir() else "not there"
        raise BadCheckpoint(f"{path} is {there}; give the file of {kind}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # damaged bytes can fail in any way
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise BadCheckpoint(
                f"{path} holds more than tensors and was not opened, because opening it could run code; "
                f"{remedy or f'give a checkpoint of {kind} as it was published'}"
            ) from error
        raise BadCheckpoint(
            f"{path} is truncated or is not a torch checkpoint; copy it again from where it came"
        ) from error
    if not isinstance(found, Mapping):
        raise BadCheckpoint(f"{path} holds a {type(found).__name__}, not a checkpoint of {kind}")
    return dict(found)


def remedy(name: str, *, needs: str = "") -> str:
    """What to do about a file of more than tensors, usually called ``name``, for `open_checkpoint`.

    ``needs`` is a package that must be installed to open it.
    """
    rest = name.replace(Path(name).stem, "weights")
    return (
        "take its tensors out, where nothing of yours can be reached (a container without a network)"
        f"{f', with {needs} installed' if needs else ''}:\n"
        f"  python -c \"import torch; c = torch.load('{name}', map_location='cpu', weights_only=False); "
        f"torch.save({{'state_dict': c['state_dict']}}, '{rest}')\"\n"
        f"and give {rest} (docs/pictures_import.md)"
    )


def part_of(checkpoint: Mapping[str, Any], part: str, *, path: str | Path, kind: str) -> Tensors:
    """The named tensors under ``part``; a "state_dict" may also be all that there is.

    Raises:
        BadCheckpoint: there is no such part, it holds something else, or numbers that are not finite.
    """
    found = checkpoint.get(part)
    if part == "state_dict" and checkpoint and all(isinstance(held, Tensor) for held in checkpoint.values()):
        found = checkpoint
    if not isinstance(found, Mapping):
        known = ", ".join(sorted(map(str, checkpoint))[:8]) or "nothing"
        raise BadCheckpoint(f"{path} is no checkpoint of {kind}: it has no part {part!r}, only {known}")
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise BadCheckpoint(f"{path} is no checkpoint of {kind}: {name!r} of its {part} is no tensor")
        if not tensor.isfinite().all():
            raise BadCheckpoint(f"{path} cannot be used: {name!r} of its {part} holds NaN or infinity")
    return {str(name): tensor for name, tensor in found.items()}


def check_names(
    tensors: Tensors, wanted: Iterable[str], *, spare: Iterable[str] = (), path: str | Path, hint: str
) -> None:
    """Raise `BadCheckpoint`, with ``hint``, unless there are all ``wanted`` names and none but ``spare``."""
    wanted = list(wanted)
    missing = [name for name in wanted if name not in tensors]
    unknown = sorted(set(tensors) - set(wanted) - set(spare))
    if missing or unknown:
        what = f"has no {missing[0]!r}" if missing else f"has {unknown[0]!r}, which should not be there"
        more = len(missing or unknown) - 1
        raise BadCheckpoint(f"{path} {what}{f' (and {more} more)' if more else ''}: {hint}")


def size_of(tensors: Tensors, name: str, axis: int, *, dims: int, path: str | Path) -> int:
    """The size of one axis of a tensor that has ``dims`` axes; `BadCheckpoint` if it has not."""
    shape = tuple(tensors[name].shape)
    if len(shape) != dims or not all(shape):
        raise BadCheckpoint(f"{path}: {name!r} has the shape {shape}; it should have {dims} axes")
    return shape[axis]


def write_checkpoint(
    path: str | Path,
    content: Mapping[str, Any],
    *,
    beside: str | Path | None = None,
    text: str = "",
    force: bool = False,
) -> None:
    """Write a torch checkpoint and, if asked for, a text that belongs to it: both, or neither.

    Args:
        path: of the checkpoint.
        content: of the checkpoint.
        beside: of the text.
        text: what it is.
        force: replace files that are there.

    Raises:
        WouldOverwrite: one of them is there and not ``force``.
    """
    for file in (path, beside):
        if file is not None:
            refuse(file, force=force)
    with atomic(path, force=force) as temporary:
        torch.save(dict(content), temporary)
    if beside is not None:
        with atomic(beside, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8")


def voice_names(speakers: str | Path | Sequence[str] | None, count: int) -> list[str]:
    """Names of the ``count`` rows of a table of voices.

    Args:
        speakers: the file ``speakers.json`` (a list of names) or such a list, in any order: the rows are
            in the order of the alphabet. None calls them "000", "001" ...
        count: rows.

    Raises:
        BadCheckpoint: the file is not a list of ``count`` different names.
    """
    if speakers is None:
        return [f"{row:03d}" for row in range(count)]
    where = "the list of speakers"
    if isinstance(speakers, (str, Path)):
        where = str(speakers)
        try:
            speakers = json.loads(Path(speakers).read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadCheckpoint(f"{where} is truncated or is not JSON ({error})") from error
    if not isinstance(speakers, (list, tuple)) or not all(isinstance(name, str) for name in speakers):
        raise BadCheckpoint(f"{where} should be a JSON list of names")
    if len(set(speakers)) != len(speakers) or len(speakers) != count:
        raise BadCheckpoint(
            f"{where} has {len(set(speakers))} different names, the checkpoint {count} voices; "
            "give the speakers.json of the data that it was trained on"
        )
    return sorted(speakers)
