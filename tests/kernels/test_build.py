"""The compiled library is there whole, or not at all; without a compiler everything else is."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling.bridge.app import Application

from speechvq.kernels import build, native

SMALL = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'
needs_compiler = pytest.mark.skipif(not native.available(), reason="there is no compiler here")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with one small source."""
    sources = tmp_path / "speechvq/kernels/src"
    sources.mkdir(parents=True)
    (sources / "small.cpp").write_text(SMALL)
    return tmp_path


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CXX", raising=False)


def run_hook(project: Path, *, version: str = "standard", target: str = "wheel") -> dict:
    """What the hook tells hatchling about a build of ``project``."""
    app, data = Application(), {"force_include": {}, "pure_python": True}
    hook = build.get_build_hook()(
        str(project), {}, SimpleNamespace(), SimpleNamespace(), str(project), target, app
    )
    hook.initialize(version, data)
    return data


def files(project: Path) -> set[str]:
    return {p.name for p in (project / "speechvq/kernels").iterdir()}


@needs_compiler
def test_library_goes_into_the_wheel_and_says_for_which_machines(project: Path):
    data = run_hook(project)
    library = project / "speechvq/kernels/_native.so"
    assert data["force_include"] == {str(library): "speechvq/kernels/_native.so"}
    assert data["pure_python"] is False
    assert data["tag"].startswith("py3-none-")
    assert data["tag"] != "py3-none-any"
    assert files(project) == {"src", "_native.so"}
    assert build.carried(library) == build.fingerprint(project / "speechvq/kernels/src")


@needs_compiler
def test_editable_install_and_sdist_put_nothing_into_the_archive(project: Path):
    assert run_hook(project, target="sdist") == {"force_include": {}, "pure_python": True}
    assert files(project) == {"src"}
    assert run_hook(project, version="editable")["force_include"] == {}
    assert files(project) == {"src", "_native.so"}


@needs_compiler
def test_library_is_made_anew_when_its_sources_changed_and_only_then(project: Path):
    library = project / "speechvq/kernels/_native.so"
    run_hook(project)
    made = library.stat().st_ino
    run_hook(project)
    assert library.stat().st_ino == made
    (project / "speechvq/kernels/src/small.h").write_text("// new\n")
    run_hook(project)
    assert library.stat().st_ino != made
    assert build.carried(library) == build.fingerprint(project / "speechvq/kernels/src")


def test_without_a_compiler_the_wheel_is_pure_and_one_line_says_so(
    project: Path, no_compiler: None, capfd: pytest.CaptureFixture[str]
):
    library = project / "speechvq/kernels/_native.so"
    library.write_bytes(b"of other sources")
    assert run_hook(project) == {"force_include": {}, "pure_python": True}
    assert files(project) == {"src"}
    (line,) = capfd.readouterr().err.splitlines()
    assert "no C++ compiler worked" in line
    assert "python -m speechvq.kernels.build" in line


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
def test_compiler_that_fails_halfway_leaves_what_was_there(
    project: Path, no_compiler: None, monkeypatch: pytest.MonkeyPatch, script: str
):
    compiler = project / "compiler"
    compiler.write_text(f'#!/bin/sh\nfor last; do :; done\necho half > "$last"\n{script}\n')
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", f"{compiler} -std=c++17")
    library = project / "speechvq/kernels/_native.so"
    library.write_bytes(b"what was there")
    with pytest.raises(build.CannotCompile, match="compiler -std=c"):
        build.compile_library(library, project / "speechvq/kernels/src")
    assert library.read_bytes() == b"what was there"
    assert files(project) == {"src", "_native.so"}


@needs_compiler
def test_compiler_of_ones_own_comes_first_and_the_next_is_tried(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    library, sources = project / "speechvq/kernels/_native.so", project / "speechvq/kernels/src"
    monkeypatch.setenv("CXX", "c++ -DMINE")
    assert build.compile_library(library, sources) == "c++ -DMINE"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build.compile_library(library, sources) == "c++"


@needs_compiler
def test_what_the_compiler_says_of_a_wrong_source_reaches_the_developer(project: Path):
    sources = project / "speechvq/kernels/src"
    (sources / "wrong.cpp").write_text("int f() { return nothing; }\n")
    with pytest.raises(build.CannotCompile, match="wrong.cpp.*nothing"):
        build.compile_library(project / "speechvq/kernels/_native.so", sources)


def test_setup_installs_again_when_a_source_changes(project: Path, checkout: Path):
    text = (checkout / ".ci/setup").read_text()
    function = text[text.index("wanted() {") :].partition("\n}\n")[0] + "\n}\n"
    for name in ("requirements.lock", "pyproject.toml", ".ci/setup", "speechvq/kernels/build.py"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).touch()

    def wanted() -> str:
        command = ["/bin/sh", "-euc", f"UV=uv; {function} wanted"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout

    before = wanted()
    assert wanted() == before
    (project / "speechvq/kernels/src/small.cpp").write_text(SMALL + "\n")
    assert wanted() != before


def test_nothing_but_the_standard_library_is_needed_to_build(checkout: Path):
    # Isolated and without site-packages, the way a build environment has no torch.
    code = "import runpy; runpy.run_path('speechvq/kernels/build.py')"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=checkout, env=os.environ, check=True)
