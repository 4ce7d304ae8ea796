"""The rules of the house, measured over the code itself.

Each test lists every offender, so one run shows all there is to do.
"""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION, MAX_CONSTRUCTOR = 250, 60, 10
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "stuff"}
NOT_OURS = {".git", ".venv", "dist", "outputs", "runs", "data"}
# Taken apart, so that this file does not find itself.
HOSTS = [
    "py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js", "deb.de" + "bian.org",
    "proxy.go" + "lang", "conda." + "anaconda", "local" + "host:3141",
]  # fmt: skip
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:root|work|farm|home/\w+|Users/\w+)/[\w.]")

type Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git holds or would take; outside a git checkout, every file that is not made here."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode == 0:
        files = [ROOT / line for line in listing.stdout.splitlines()]
    else:
        files = [p for p in ROOT.rglob("*") if p.relative_to(ROOT).parts[0] not in NOT_OURS]
    return tuple(p for p in files if p.is_file() and "__pycache__" not in p.parts)


def library() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and p.is_relative_to(ROOT / "speechvq")]


def place(path: Path, node: ast.AST | None = None, name: str = "") -> str:
    line = f":{node.lineno}" if isinstance(node, ast.stmt) else ""
    return f"{path.relative_to(ROOT)}{line} {name}".strip()


def nodes(kind: type | tuple[type, ...]) -> Iterator[tuple[Path, ast.AST]]:
    for path in library():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield path, node


def functions() -> Iterator[tuple[Path, Function]]:
    for path, node in nodes((ast.FunctionDef, ast.AsyncFunctionDef)):
        assert isinstance(node, Function.__value__)
        yield path, node


def arguments(function: Function) -> list[ast.arg]:
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    return [x for i, x in enumerate(named) if not (i == 0 and x.arg in ("self", "cls"))]


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[ast.ClassDef | Function, str]]:
    """Public classes, functions and methods, the way a reader of the documentation sees them."""
    for node in body:
        if isinstance(node, (ast.ClassDef, *Function.__value__.__args__)) and not node.name.startswith("_"):
            yield node, prefix + node.name
            # What a protocol asks for is told in its own docstring.
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                yield from public(node.body, f"{prefix}{node.name}.")


def described_by_base(node: ast.ClassDef | Function) -> bool:
    return any("override" in ast.unparse(d) or ".setter" in ast.unparse(d) for d in node.decorator_list)


def test_no_file_is_longer_than_a_sitting():
    long = [place(p, name=str(n)) for p in library() if (n := len(p.read_text().splitlines())) > MAX_FILE]
    assert not long


def test_no_function_is_longer_than_a_screen():
    length = lambda f: (f.end_lineno or 0) - f.lineno + 1  # noqa: E731
    long = [place(p, f, f"{f.name} {length(f)}") for p, f in functions() if length(f) > MAX_FUNCTION]
    assert not long


def test_no_constructor_is_a_museum():
    wide = [
        place(p, f, str(len(arguments(f))))
        for p, f in functions()
        if f.name == "__init__" and len(arguments(f)) > MAX_CONSTRUCTOR
    ]
    assert not wide


def test_every_file_says_what_is_in_it():
    silent = [
        place(p)
        for p in library()
        if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent


def test_every_public_name_is_documented():
    silent = [
        place(path, node, name)
        for path in library()
        for node, name in public(ast.parse(path.read_text()).body)
        if not ast.get_docstring(node) and not described_by_base(node)
    ]
    assert not silent


def test_every_argument_is_annotated():
    bare = [
        place(p, f, f"{f.name}({x.arg})")
        for p, f in functions()
        for x in arguments(f)
        if x.annotation is None
    ]
    assert not bare


def test_there_are_no_drawers():
    assert not [place(p) for p in tracked() if p.suffix == ".py" and p.stem.lower() in DRAWERS]


def test_no_script_has_the_name_of_an_installed_package():
    """Scripts import neighbours by name: one called like a package is it, or hides it, by luck of order."""
    rooms = [ROOT / "recipes", ROOT / "benchmarks"]
    scripts = [p for p in tracked() if p.suffix == ".py" and any(p.is_relative_to(room) for room in rooms)]
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    taken = [p for p in scripts if p.stem in sys.stdlib_module_names or PathFinder.find_spec(p.stem, places)]
    assert scripts
    assert not [place(p) for p in taken]


def test_the_library_does_not_print():
    calls = [
        place(p)
        for p, node in nodes(ast.Call)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine():
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # weights, sound, pictures
            continue
        found += [place(path, name=host) for host in HOSTS if host in text]
        if path != Path(__file__):
            found += [place(path, name=m.group()) for m in MACHINE_PATH.finditer(text)]
    assert not found


def test_lock_pins_everything_by_hash_and_names_no_address():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    blocks = re.split(r"\n(?=\S)", "\n".join(lines))
    assert len(blocks) > 50
    assert not [b.split()[0] for b in blocks if "==" not in b.split("\n")[0] or "--hash=sha256:" not in b]
    assert not [line for line in lines if "://" in line or "index-url" in line or "find-links" in line]


def test_lock_holds_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["score"], *extras["video"], *extras["dev"]]
    normal = lambda name: re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name).group().lower())  # noqa: E731
    locked = {normal(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert {normal(name) for name in wanted} - {"speechvq"} <= locked


def readme_tree() -> dict[str, str]:
    """The folders and files, with their captions, that the README's tree draws."""
    fences = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = next((f.splitlines() for f in fences if f.startswith("speechvq/")), [])
    found, parents = {}, []
    for line in lines:
        match = re.match(r"( *)(\S+)(?:\s+(\S.*))?$", line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        parents = [*parents[:depth], match[2]]
        found["".join(parents)] = match[3] or ""
    return found


def test_readme_tree_is_the_real_tree():
    tree = readme_tree()
    if not tree:
        pytest.skip("README.md draws no tree yet")
    assert not [name for name in tree if not (ROOT / name).exists()]
    assert not [name for name, caption in tree.items() if not caption and name != "speechvq/"]
    folders = {p.relative_to(ROOT).parts[0] + "/" for p in tracked() if len(p.relative_to(ROOT).parts) > 1}
    rooms = {
        "/".join(p.relative_to(ROOT).parts[:2]) + "/" for p in library() if len(p.relative_to(ROOT).parts) > 2
    }
    assert not {f for f in folders | rooms if not f.startswith(".")} - set(tree)
