"""One picture: as a codec is to see it, to a code file, and from codes to a picture file.

A codec of one colour sees grey pictures, of three RGB, and of any other number the one-hot of class
numbers, as `speechvq.image.sheet` shows them; class numbers come from and go to PNG files in which they
are the stored values.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechvq.codec import Codec, Codes
from speechvq.errors import BadCodes, BadPicture, BadSetting
from speechvq.image.data import in_range
from speechvq.image.files import (
    MODES,
    SUFFIXES,
    Frame,
    Size,
    read_classes,
    read_picture,
    scale,
    write_classes,
    write_picture,
)
from speechvq.image.sheet import class_colours, levels
from speechvq.image.views import view
from speechvq.nets.sampling import Sampling
from speechvq.serve.bulk import STANDARD
from speechvq.store.atomic import atomic
from speechvq.store.codes import StoredCodes, read_codes, write_codes


def colours(codec: Codec) -> int:
    """Channels of what the codec sees; `BadSetting` if those are not pictures."""
    if codec.room != "image" or not (found := getattr(codec.encoder, "colours", 0)):
        what = "another codec's codes" if codec.room == "image" else codec.room
        raise BadSetting(f"a codec of pictures is needed; this one is of {what}")
    return found


def look(
    path: str | Path, codec: Codec, *, name: str = "", channels: int = 3, size: Size | None = None
) -> Tensor:
    """What the codec is to see of a picture file, (1, C, H, W), on its device.

    Args:
        path: a picture; of depth a grey one, -1 (black) nearest; of a segmentation the class numbers.
        codec: of pictures.
        name: the view, one of `speechvq.image.views.VIEWS`; of any other name, what the codec's channels say.
        channels: 1 or 3, of the picture that edges are found in.
        size: height and width that it is scaled to cover and cut to at its middle; None for its own.

    Raises:
        BadPicture: the file is no good, or has a class that the codec does not know.
        BadSetting: the codec is not of pictures.
    """
    path, known = Path(path), colours(codec)
    if name not in ("depth", "segmentation", "edges", "low"):
        name = "picture" if known in MODES else "segmentation"
    device = next(codec.parameters()).device
    if name == "segmentation":
        array = read_classes(path)
        if not 0 <= array.min() <= array.max() < known:
            raise BadPicture(path, f"has classes from {array.min()} to {array.max()}; known are {known}")
        if size is not None:
            array = _cut(scale(array, Frame(size).scaled(*array.shape), exact=True), size)
        classes = torch.from_numpy(array.astype(np.int64))[None].to(device)
        return view(name, classes.new_zeros(1, 1, 1, 1).float(), {name: classes}, classes=known)
    channels = 1 if name == "depth" else channels if name == "edges" or known not in MODES else known
    array = read_picture(path, None if size is None else Frame(size), channels=channels)
    array = array if size is None else _cut(array, size)
    picture = in_range(torch.from_numpy(array.copy()))[None].to(device)
    seen = view(name, picture, {"depth": picture})
    if seen.shape[1] != known:
        raise BadSetting(f"{path} as {name} has {seen.shape[1]} channels; the codec for it sees {known}")
    return seen


def save_picture(target: str | Path, made: Tensor, *, force: bool = False) -> None:
    """What a codec made, (1, C, H, W), to a picture file: grey, RGB, or class numbers with a palette.

    Raises:
        BadSetting: no format has this suffix.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    target = check_target(target)
    with atomic(target, force=force) as temporary:
        channels = made.shape[1]
        if channels not in MODES and channels <= 256 and target.suffix.lower() == ".png":
            write_classes(temporary, made[0].argmax(0).cpu().numpy(), class_colours(torch.arange(256)))
        else:
            shown = levels(made)[0]
            write_picture(temporary, shown[..., 0] if channels == 1 else shown)


def check_target(target: str | Path) -> Path:
    """The path, if it is a name for a picture; else `BadSetting`."""
    target = Path(target)
    if target.suffix.lower() not in SUFFIXES:
        raise BadSetting(f"{target} is no name of a picture; it must end in one of {', '.join(SUFFIXES)}")
    return target


def encode_picture(codec: Codec, source: str, target: str, *, force: bool = False) -> None:
    """Picture file, of whatever size, to code file.

    Raises:
        BadPicture: the picture cannot be used.
        BadSetting: the codec is not of pictures, or a pipe is to be read or written.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    _no_pipes(source, target)
    seen = look(source, codec)
    try:
        codec.encoder.grid(tuple(seen.shape[2:]))
    except BadSetting as error:
        raise BadPicture(source, f"is too small ({error})") from error
    stored = StoredCodes(
        indices=codec.encode(seen).indices.cpu(),
        codebook_size=codec.quantizer.codebook_size,
        rate=float(codec.rate),
        frame_rate=codec.frame_rate,
        size=tuple(seen.shape[2:]),
        fingerprint=codec.fingerprint,
    )
    write_codes(target, stored, force=force)


def decode_picture(
    codec: Codec, source: str, target: str, *, sampling: Sampling | None = None, force: bool = False
) -> None:
    """Code file to picture file, as large as what was encoded, but for pixels that had no code.

    Args:
        codec: of pictures.
        source: a code file.
        target: by whose suffix the format is chosen.
        sampling: how a decoder draws that does (`speechvq.nets.sampling.Draws`); None for the others.
        force: replace a file that is there.

    Raises:
        BadCodes: damaged, made by another codec, or not of a picture.
        BadSetting: no format has the target's suffix, or a pipe is to be read or written.
        WouldOverwrite: ``target`` is there and not ``force``.
    """
    _no_pipes(source, target)
    colours(codec)
    stored = read_codes(source)
    stored.check(codec.fingerprint, source=source)
    if len(stored.grid) != 2 or not all(stored.grid):
        raise BadCodes(f"{source} holds no codes of a picture")
    options = {} if sampling is None else {"sampling": sampling}
    made = codec.decode(Codes(stored.indices.to(next(codec.parameters()).device)), **options)
    save_picture(target, made[..., : stored.size[0], : stored.size[1]], force=force)


def _no_pipes(*names: str) -> None:
    if STANDARD in names:
        raise BadSetting("pictures are read from files and written to files; give their names in place of -")


def _cut(array: np.ndarray, size: Size) -> np.ndarray:
    """The middle (..., *size) of an array (..., H, W)."""
    starts = [(whole - part) // 2 for whole, part in zip(array.shape[-2:], size, strict=True)]
    return array[(..., *(slice(at, at + part) for at, part in zip(starts, size, strict=True)))]
