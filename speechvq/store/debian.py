"""Opening a Debian package without Debian: an `ar` archive that holds a compressed tar file (deb(5))."""

import lzma
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from speechvq.errors import BadSetting

MAGIC = b"!<arch>\n"
HEADER = 60  # bytes before each member: name 16, date 12, owner 6, group 6, mode 8, size 10, end 2


def unpack(package: Path, target: Path, *, suffixes: Sequence[str]) -> None:
    """Write the package's files with one of the ``suffixes`` under ``target``; links are left out.

    Raises:
        BadSetting: it is not a Debian package, is damaged, or is compressed in a way Python cannot read.
    """
    try:
        with package.open("rb") as file:
            _seek_data(file, package)
            # "|" reads forward only, so the tar need not know where in the package it lies
            with tarfile.open(fileobj=cast("BinaryIO", file), mode="r|*") as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(tuple(suffixes)):
                        archive.extract(member, target, filter="data")
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        way = f"unpack it with `dpkg-deb -x {package.name} FOLDER` and give FOLDER"
        raise BadSetting(f"{package} cannot be unpacked ({error}); {way}") from error


def _seek_data(file: BinaryIO, package: Path) -> None:
    """Go to the first byte of the member that begins with ``data.tar``."""
    if file.read(len(MAGIC)) != MAGIC:
        raise BadSetting(f"{package} is not a Debian package")
    while len(header := file.read(HEADER)) == HEADER and header[58:] == b"`\n":
        if header.startswith(b"data.tar"):
            return
        size = int(header[48:58])
        file.seek(size + size % 2, 1)
    raise BadSetting(f"{package} is a damaged Debian package: it has no data.tar")
