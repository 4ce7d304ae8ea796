"""Pictures that nobody took: codes that a prior makes up, or goes on with, as a codec draws them.

What the prior is told comes by name: a class by its name, a map (depth, a segmentation, edges, the
picture at low resolution) as a picture file that another codec turns into codes, as in training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting
from speechvq.image.files import MODES, Size, write_picture
from speechvq.image.sheet import sheet
from speechvq.nets.sampling import Draws, Sampling
from speechvq.prior import Prior, Steering
from speechvq.prior.conditions import Given
from speechvq.prior.given import given_of
from speechvq.prior.gpt import GPTPrior
from speechvq.serve.drawing import Drawing, drawn_by, seed_of
from speechvq.serve.pictures import check_target, colours, look, save_picture
from speechvq.store.atomic import atomic, refuse

MOST = 1024
"""Codes a side, at most."""


@dataclass(frozen=True)
class Dream:
    """What is to be made up.

    Attributes:
        grid: rows and columns of codes; None for what ``size`` says.
        size: height and width in pixels, multiples of the codec's hop; without both what the prior knows.
        label: the class, if the prior is told one.
        told: whatever it is told, by name: a class, integers with commas between, or the file of a map.
        codecs: of pictures, by the name of the map that becomes codes by them.
        start: a picture file to go on from, scaled to cover the size and cut at its middle.
        rows: of codes, from the top, that are kept of it; None for half of them.
        sampling: how codes are drawn, in each codebook or in all.
        steering: guidance, and rules about repetition.
    """

    grid: Size | None = None
    size: Size | None = None
    label: str | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    codecs: Mapping[str, Codec] = field(default_factory=dict)
    start: Path | None = None
    rows: int | None = None
    sampling: Drawing = field(default_factory=Sampling)
    steering: Steering = field(default_factory=Steering)

    def __post_init__(self) -> None:
        if self.grid is not None and self.size is not None:
            raise BadSetting("give --grid, in codes, or --size, in pixels, not both")
        if self.rows is not None and self.start is None:
            raise BadSetting(
                "--rows are those kept of a picture; give it with --continue, or leave --rows out"
            )


def dream(
    prior: Prior,
    codec: Codec,
    targets: Sequence[str | Path],
    wish: Dream,
    *,
    on_sheet: int = 0,
    force: bool = False,
) -> Codes:
    """Write one picture file for each of ``targets``; return the codes (count, K, H, W) of them.

    Args:
        prior: trained on the codes of ``codec``, on its device.
        codec: of pictures.
        targets: files to write, by whose suffixes the format is chosen.
        wish: what.
        on_sheet: so many pictures side by side in the one target, small ones enlarged; 0 for one in each.
        force: replace files that are there.

    Raises:
        BadSetting: the prior is not told what it must be, or is told what it does not know; the size is
            not known, or cannot be.
        UnknownName: the prior does not know the class.
        BadCodes: the prior, or what it is told, is of the codes of another codec.
        BadPicture: a picture cannot be used.
        WouldOverwrite: a target is there and not ``force``.
    """
    prior.check(codec.fingerprint)
    colours(codec)
    if prior.speakers:
        raise BadSetting("this prior is told who speaks, and pictures have no voice; give another prior")
    for target in targets:
        refuse(check_target(target), force=force)
    grid = _grid(prior, codec, wish)
    size = (grid[0] * codec.encoder.hop, grid[1] * codec.encoder.hop)
    condition = _condition(prior, codec, wish, size)
    made = prior.generate(
        grid,
        condition,
        drawn_by(prior, wish.sampling),
        steering=wish.steering,
        prefix=None if wish.start is None else _beginning(codec, wish, size),
        count=on_sheet or len(targets),
    )
    # One by one, for a decoder takes far more memory than a picture.
    how = {"seed": seed_of(wish.sampling)} if isinstance(codec.decoder, Draws) else {}
    pictures = (codec.decode(Codes(one), **how) for one in made.indices.split(1))
    if on_sheet:
        page = sheet(torch.cat(list(pictures)))
        with atomic(targets[0], force=force) as temporary:
            write_picture(temporary, page)
    else:
        for target, picture in zip(targets, pictures, strict=True):
            save_picture(target, picture, force=force)
    return made


def _grid(prior: Prior, codec: Codec, wish: Dream) -> Size:
    """Rows and columns of codes that are wished for, or that the prior has learned and the codec can draw."""
    hop, grid = codec.encoder.hop, wish.grid
    most = min(MOST, getattr(codec.decoder, "side", MOST * hop) // hop)
    if wish.size is not None:
        if any(side % hop for side in wish.size):
            raise BadSetting(
                f"pictures of {wish.size[1]} x {wish.size[0]} pixels (width x height) do not divide into "
                f"codes of {hop} pixels a side; give --size in multiples of {hop}"
            )
        grid = (wish.size[0] // hop, wish.size[1] // hop)
    elif grid is None:
        learned = prior.reading.window if isinstance(prior, GPTPrior) else getattr(prior, "grid", ())
        if len(learned) != 2:
            raise BadSetting(
                "how large? this prior does not say what it has learned: give --size, in pixels, or --grid, "
                f"in codes of {hop} pixels a side"
            )
        grid = (min(learned[0], most), min(learned[1], most))
    if not 1 <= min(grid) <= max(grid) <= most:
        raise BadSetting(f"a grid of {grid[0]} x {grid[1]} codes cannot be made up; give 1 to {most} a side")
    return grid


def _beginning(codec: Codec, wish: Dream, size: Size) -> Codes:
    """The first rows of the codes of the picture to go on from."""
    assert wish.start is not None
    indices = codec.encode(look(wish.start, codec, size=size)).indices
    most = indices.shape[2] - 1
    rows = max(1, indices.shape[2] // 2) if wish.rows is None else wish.rows
    if not 1 <= rows <= most:
        raise BadSetting(
            f"{rows} rows of codes cannot be kept of a picture of {most + 1}; give --rows from 1 to {most}, "
            "or a larger --size"
        )
    return Codes(indices[:, :, :rows])


def _condition(prior: Prior, codec: Codec, wish: Dream, size: Size) -> dict[str, Tensor]:
    """All that the prior is told, each (1, ...) and on the codec's device."""
    known = {one.name: one for one in given_of(prior)}
    told = dict(wish.told)
    if wish.label is not None:
        classes = [name for name, one in known.items() if one.kind == "label"]
        if len(classes) != 1:
            other = f"its classes are {', '.join(classes)}; use --told NAME=CLASS" if classes else ""
            raise BadSetting(f"--label is for a prior told one class; {other or 'this one is told none'}")
        if told.setdefault(classes[0], wish.label) != wish.label:
            raise BadSetting(f"--label and --told {classes[0]} differ; give one of them")
    for name in (*told, *wish.codecs):
        if name not in known or known[name].kind == "coordinates":
            names = ", ".join(n for n, one in known.items() if one.kind != "coordinates") or "nothing"
            raise BadSetting(f"this prior is not told {name}; what it is told: {names}")
    channels = colours(codec)
    device = next(codec.parameters()).device
    found = {}
    for name, one in known.items():
        if one.kind != "map" and name in wish.codecs:
            raise BadSetting(f"{name} needs no codec; leave --told-codec {name} out")
        if one.kind == "map":
            other, path = _map(one, told.get(name), wish.codecs.get(name))
            seen = look(path, other, name=name, channels=channels if channels in MODES else 3, size=size)
            found[name] = other.encode(seen).indices
        elif one.kind != "coordinates":  # which the prior makes by itself
            found[name] = _numbers(one, told.get(name)).to(device)
    return found


def _map(one: Given, path: str | None, codec: Codec | None) -> tuple[Codec, Path]:
    """The codec of a map and its file, if both are there and fit."""
    if path is None:
        raise BadSetting(
            f"this prior is told {one.name}: give --told {one.name}=FILE, a picture, and "
            f"--told-codec {one.name}=FOLDER, the codec that makes its codes"
        )
    if codec is None:
        raise BadSetting(f"whose codes of {one.name}? give --told-codec {one.name}=FOLDER")
    colours(codec)
    one.check(codec.fingerprint)
    return codec, Path(path)


def _numbers(one: Given, said: str | None) -> Tensor:
    """A class (1,), or a list of integers (1, n)."""
    if one.kind == "label" and one.names:
        if said is None:
            some = ", ".join(one.names[:20]) + (" ..." if len(one.names) > 20 else "")
            option = "--label" if one.name == "label" else f"--told {one.name}="
            raise BadSetting(f"which {one.name}? give {option} with one of {some}")
        return torch.tensor([one.row(said)])
    try:
        numbers = torch.tensor([int(word) for word in (said or "").split(",")])
        fit = 0 <= int(numbers.min()) <= int(numbers.max()) < one.size
    except (ValueError, RuntimeError, OverflowError):
        fit, numbers = False, torch.empty(0)
    if not fit or (one.kind == "label" and len(numbers) != 1):
        what = "a number" if one.kind == "label" else "numbers, with commas between,"
        raise BadSetting(
            f"this prior is told {one.name}: give --told {one.name}=, {what} from 0 to {one.size - 1}"
        )
    return numbers if one.kind == "label" else numbers[None]
