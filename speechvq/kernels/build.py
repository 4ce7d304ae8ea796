"""Compiles the library behind `speechvq.kernels.native`: the hook of a build, and a command for a checkout.

    python -m speechvq.kernels.build

makes ``_native.so`` beside this file out of ``src/*.cpp`` with $CXX, c++, g++ or clang++, whichever
works first. One library runs on every processor of the family: what it uses of it is decided when it
runs. The library carries a fingerprint of its sources, so that one of other sources is never used.

Needs the standard library only, since it runs before anything is installed.
"""

import hashlib
import logging
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = HERE / "src"
LIBRARY = HERE / "_native.so"
REMEDY = "install a C++ compiler and run 'python -m speechvq.kernels.build'"
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-pthread", "-fvisibility=hidden")

_MARK = b"speechvq sources "  # what stands before the fingerprint in the library

log = logging.getLogger(__name__)


class CannotCompile(Exception):
    """No compiler, or none that takes these sources; the message says what each of them answered."""


def fingerprint(sources: Path = SOURCES) -> str:
    """What a library made of ``sources``, here and with these flags, is known by: 64 hex digits."""
    digest = hashlib.sha256(f"{sys.platform} {platform.machine()} {FLAGS}".encode())
    for file in sorted([*sources.glob("*.cpp"), *sources.glob("*.h")]):
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def carried(library: Path) -> str:
    """The fingerprint inside the file ``library``; empty if there is none."""
    try:
        _, mark, after = library.read_bytes().partition(_MARK)
    except OSError:
        return ""
    return after[:64].decode("ascii", "replace") if mark else ""


def compile_library(library: Path = LIBRARY, sources: Path = SOURCES) -> str:
    """Make ``library`` out of ``sources``; it is there whole or, after an error, as it was before.

    Returns:
        The compiler's command.

    Raises:
        CannotCompile: none of the compilers made it.
    """
    answers = []
    # In the folder where the library will lie: only there a file moves into place in one piece.
    with tempfile.TemporaryDirectory(prefix="_native.", dir=library.parent) as folder:
        for compiler in _compilers():
            try:
                _compile(compiler, sources, Path(folder))
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                answers.append(f"{shlex.join(compiler)}: {said.strip()}")
                continue
            (Path(folder) / "library").replace(library)
            return shlex.join(compiler)
    raise CannotCompile("\n".join(answers))


def _compilers() -> Iterator[list[str]]:
    """The commands to try, what the person asked for first."""
    if asked := shlex.split(os.environ.get("CXX", "")):
        yield asked
    yield from (["c++"], ["g++"], ["clang++"])


def _compile(compiler: list[str], sources: Path, folder: Path) -> None:
    """Every source on its own, several at a time, then all of them into ``folder / "library"``."""
    mark = folder / "fingerprint.cpp"
    text = _MARK.decode() + fingerprint(sources)
    mark.write_text(f'extern "C" __attribute__((used)) const char speechvq_sources[] = "{text}";\n')
    files = [mark, *sorted(sources.glob("*.cpp"))]
    objects = [str(folder / f"{file.stem}.o") for file in files]

    def one(file: Path, to: str) -> None:
        _run([*compiler, *FLAGS, "-c", str(file), "-o", to])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(one, files, objects):
            pass
    _run([*compiler, *FLAGS, "-shared", *objects, "-o", str(folder / "library")])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def get_build_hook() -> type:
    """The class that hatchling asks for when it builds a wheel, editable or not."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    from packaging.tags import platform_tags

    class NativeLibrary(BuildHookInterface):
        """Puts the compiled library into the wheel; without a compiler, says so and leaves it out."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Called before the wheel is put together."""
            if self.target_name != "wheel":
                return
            here = Path(self.root) / "speechvq" / "kernels"
            library, sources = here / LIBRARY.name, here / SOURCES.name
            if carried(library) != fingerprint(sources):
                library.unlink(missing_ok=True)
                try:
                    compile_library(library, sources)
                except CannotCompile as error:
                    self.app.display_warning(
                        "speechvq goes without its compiled kernels and will use plain torch, which is "
                        f"slower: no C++ compiler worked ({str(error).splitlines()[0]}); {REMEDY}"
                    )
                    return
            # For any Python 3, since the library knows nothing of Python. The manylinux tags would
            # promise what nobody has checked.
            tag = next(t for t in platform_tags() if not t.startswith(("manylinux", "musllinux")))
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{tag}"
            if version != "editable":  # which finds the library where it was made
                build_data["force_include"][str(library)] = f"speechvq/kernels/{library.name}"

    return NativeLibrary


def main() -> int:
    """Rebuild the library of this checkout; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        log.info("%s, by %s", LIBRARY, compile_library())
    except CannotCompile as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
