"""Flags of pictures that several verbs share, and what becomes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechvq.cli.prepare_pictures import read_size
from speechvq.errors import BadSetting

if TYPE_CHECKING:
    from speechvq.codec import Codec
    from speechvq.image.data import PictureCorpus

PICTURES = "Of pictures"
"""Heading of these flags where a verb has others as well."""
ToldCodec = Annotated[
    list[str] | None,
    typer.Option(
        "--told-codec",
        metavar="NAME=FOLDER",
        help="The codec that turns what is told into codes.",
        rich_help_panel=PICTURES,
    ),
]
PixelSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|WxH",
        help="Pixels a side, or width x height, that they are scaled and cut to.",
        show_default="as they were prepared",
        rich_help_panel=PICTURES,
    ),
]


def named(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """``NAME=WHAT`` words by their names."""
    found = {}
    for word in words or ():
        name, equals, what = word.partition("=")
        if not (name and equals and what):
            raise BadSetting(f"{option} {word} is not of the form NAME=..., such as {option} depth=...")
        if name in found:
            raise BadSetting(f"{option} {name}= is there twice; give it once")
        found[name] = what
    return found


def open_pictures(root: Path, codec: "Codec", size: str | None) -> "PictureCorpus":
    """The pictures of a folder as large as ``--size`` says, and grey or RGB as the codec sees them.

    Raises:
        BadSetting: there are none, or they do not divide into the codec's codes.
    """
    from speechvq.image.data import open_corpus
    from speechvq.image.files import MODES

    sees, hop = getattr(codec.encoder, "colours", None), codec.encoder.hop
    pixels, channels = None if size is None else read_size(size), sees if sees in MODES else None
    corpus = open_corpus({"root": str(root), "size": pixels, "channels": channels})
    if any(side % hop for side in corpus.size):
        raise BadSetting(
            f"pictures of {corpus.size[1]} x {corpus.size[0]} pixels do not divide into codes of {hop} "
            f"pixels a side; give --size, a multiple of {hop}"
        )
    return corpus
