"""Picture files, decoded, resized and cropped with Pillow; what is broken is a sentence.

Legend: C channels (1 grey, 3 RGB), H and W pixels; arrays of pictures are uint8 (C, H, W).
"""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from speechvq.errors import BadPicture, BadSetting
from speechvq.store.layout import files_under

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
MODES = {1: "L", 3: "RGB"}
SIDEWAYS = (5, 6, 7, 8)  # Exif orientations that swap height and width
ORIENTATION = 0x0112
# Pillow's readers meet damage with errors of many kinds.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, struct.error)

type Size = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """The size that every picture gets: scaled to cover it, then cropped.

    Raises:
        BadSetting: a side is below 1, or the shorter side is smaller than the crop.
    """

    size: Size  # height and width of the crop
    shorter: int | None = None  # scale the shorter side to this first; None: as little as covers the crop

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise BadSetting(f"pictures cannot be {self.size[0]} x {self.size[1]} pixels")
        if self.shorter is not None and self.shorter < max(self.size):
            raise BadSetting(f"the shorter side {self.shorter} must be at least the crop's {max(self.size)}")

    def scaled(self, height: int, width: int) -> Size:
        """The height and width to which a picture of this size is scaled before it is cropped."""
        if self.shorter is not None:
            scale = self.shorter / min(height, width)
        else:
            scale = max(self.size[0] / height, self.size[1] / width)
        return max(self.size[0], round(height * scale)), max(self.size[1], round(width * scale))


def picture_files(root: Path) -> list[Path]:
    """Every picture below ``root`` by its suffix, in order of names.

    Raises:
        BadSetting: there is no such folder, or no picture in it.
    """
    if not (files := list(files_under(root, suffixes=SUFFIXES))):
        raise BadSetting(f"{root} has no pictures ({', '.join(SUFFIXES)})")
    return files


def picture_size(path: Path) -> Size:
    """Height and width as it is meant to be looked at, from the header alone.

    Raises:
        BadPicture: it is missing, empty or not a picture.
    """

    def look(image: Image.Image) -> Size:
        sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)

    return _opened(path, look)


def read_picture(path: Path, frame: Frame | None = None, *, channels: int = 3) -> np.ndarray:
    """A file as (C, H, W) uint8: upright, transparent parts white, scaled for ``frame`` but not cropped.

    Of an animation the first picture; of 16 bits the upper 8.

    Raises:
        BadPicture: it is missing, empty, truncated, damaged or unreasonably large.
    """

    def decode(image: Image.Image) -> np.ndarray:
        if frame is not None:  # a large JPEG is decoded at a half, a quarter or an eighth
            longest = max(frame.scaled(image.height, image.width))
            image.draft(None, (longest, longest))
        upright = _plain(ImageOps.exif_transpose(image), MODES[channels])
        if frame is not None:
            height, width = frame.scaled(upright.height, upright.width)
            upright = upright.resize((width, height), Image.Resampling.LANCZOS)
        array = np.asarray(upright)
        return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))

    return _opened(path, decode)


def read_classes(path: Path) -> np.ndarray:
    """A map of class numbers as (H, W) int32: the values as they are stored, grey or with a palette.

    Raises:
        BadPicture: as of `read_picture`, or it is in colours that are no numbers.
    """

    def decode(image: Image.Image) -> np.ndarray:
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise BadPicture(path, "is no map of class numbers, which is grey or has a palette")
        return np.array(image, dtype=np.int32)

    return _opened(path, decode)


def scale(array: np.ndarray, size: Size, *, exact: bool = False) -> np.ndarray:
    """An array (H, W) or (C, H, W) of uint8 at another ``size``.

    ``exact`` takes the nearest value and mixes none: for class numbers.
    """
    if array.shape[-2:] == size:
        return array
    if array.ndim == 3:
        return np.stack([scale(plane, size, exact=exact) for plane in array])
    way = Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize((size[1], size[0]), way))


def recolour(picture: np.ndarray, channels: int) -> np.ndarray:
    """A (C, H, W) uint8 picture with 1 or 3 channels: RGB to luma (ITU-R 601), or grey three times."""
    if len(picture) == channels:
        return picture
    if channels == 1:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).convert("L"))[
            None
        ]
    return picture.repeat(3, axis=0)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """An (H, W) or (H, W, 3) uint8 array to a file, in the format that its suffix says."""
    Image.fromarray(picture).save(path)


def write_classes(path: Path, classes: np.ndarray, palette: np.ndarray) -> None:
    """(H, W) class numbers below 256 to a PNG that shows them in colours of ``palette`` (256, 3) uint8."""
    image = Image.fromarray(classes.astype(np.uint8))
    image.putpalette(palette.tobytes())
    image.save(path, format="PNG")


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The picture in 8 bits a channel and without transparency."""
    if image.mode.startswith("I"):  # 16-bit grey: `convert` would clip it at 255
        values = np.asarray(image, dtype=np.int64)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _opened[T](path: Path, use: Callable[[Image.Image], T]) -> T:
    """What ``use`` makes of the opened file, or the one error of a file that is no good."""
    try:
        if not path.stat().st_size:
            raise BadPicture(path, "is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged Exif, of sizes just below the limit
            with Image.open(path) as image:
                return use(image)
    except FileNotFoundError as error:
        raise BadPicture(path, "is missing") from error
    except UnidentifiedImageError as error:
        raise BadPicture(path, "is not a picture in a format we read") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(path, "has unreasonably many pixels") from error
    except DAMAGE as error:
        raise BadPicture(path, "is truncated or damaged") from error
