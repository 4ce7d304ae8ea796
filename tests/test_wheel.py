"""The wheel, built from this checkout and used away from it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from speechvq.kernels import native

AUDIO = ("torchaudio", "librosa", "soundfile", "soxr", "av")


@pytest.fixture(scope="module")
def site(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(checkout),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = out.glob("speechvq-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def python(site: Path, where: Path, *arguments: str) -> str:
    """What Python prints, run in ``where`` with the wheel before everything else on its path."""
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=where, env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "110", "NO_COLOR": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_settings_types_and_licence_are_inside(site: Path, checkout: Path):
    here = {p.relative_to(checkout / "configs") for p in (checkout / "configs").rglob("*.yaml")}
    assert here
    assert {
        p.relative_to(site / "speechvq/configs") for p in (site / "speechvq/configs").rglob("*.yaml")
    } == here
    assert (site / "speechvq/py.typed").is_file()
    (information,) = site.glob("*.dist-info")
    assert "speechvq = speechvq.cli:main" in (information / "entry_points.txt").read_text()
    assert (information / "licenses/LICENSE").is_file()


def test_shipped_codec_is_inside(site: Path, checkout: Path):
    if not (checkout / "checkpoints/speech/config.json").is_file():
        pytest.skip("no codec ships yet")
    names = {p.name for p in (site / "speechvq/checkpoints/speech").iterdir()}
    assert {"config.json", "model.safetensors", "README.md"} <= names


def test_shipped_codec_is_the_default_away_from_the_checkout(site: Path, checkout: Path, workdir: Path):
    if not (checkout / "checkpoints/speech/config.json").is_file():
        pytest.skip("no codec ships yet")
    recording = str(checkout / "tests/assets/slt_short.flac")
    python(site, workdir, "-m", "speechvq", "encode", recording, "slt.svq")
    assert (workdir / "slt.svq").stat().st_size > 0


@pytest.mark.skipif(not native.available(), reason="there is no compiler here")
def test_compiled_kernels_are_inside_and_are_missed_aloud(site: Path, workdir: Path):
    code = (
        "import torch; from speechvq.kernels import native; print(native.__file__, native.available());"
        "torch.set_num_threads(1); print(*native.nearest(torch.eye(3), torch.eye(3)).tolist())"
    )
    file, found, *indices = python(site, workdir, "-c", code).split()
    assert Path(file).is_relative_to(site)
    assert (found, indices) == ("True", ["0", "1", "2"])
    shutil.copytree(site / "speechvq", workdir / "speechvq", ignore=shutil.ignore_patterns("_native.*"))
    code = "from speechvq.kernels import native; print(native.available(), native.available())"
    assert python(workdir, workdir, "-c", code).split() == ["False", "False"]


def test_settings_are_found_away_from_the_checkout(site: Path, workdir: Path):
    choose = "compose(['experiment=speech', 'data.manifest=my.jsonl'])"
    code = f"from speechvq.train import compose, settings; print({choose}.folder, settings.__file__)"
    folder, file = python(site, workdir, "-c", code).split()
    assert folder == "runs/speech"
    assert Path(file).is_relative_to(site)


def test_the_front_door_is_light(site: Path, workdir: Path):
    code = "import sys, speechvq; print(speechvq.__file__); print(*sys.modules)"
    file, loaded = python(site, workdir, "-c", code).splitlines()
    assert Path(file).is_relative_to(site)
    assert not set(AUDIO) & set(loaded.split())


def test_every_promised_name_is_there(site: Path, workdir: Path):
    code = "import speechvq; print(*(n for n in speechvq.__all__ if not hasattr(speechvq, n)))"
    assert python(site, workdir, "-c", code).split() == []


def test_the_command_line_helps(site: Path, workdir: Path):
    text = python(site, workdir, "-m", "speechvq", "--help")
    for verb in ("prepare", "train", "encode", "decode", "convert", "score", "demo"):
        assert re.search(rf"\b{verb}\b", text)


@pytest.mark.parametrize("verb", ["prepare", "train", "encode", "decode", "convert", "score", "demo"])
def test_every_verb_shows_an_example(site: Path, workdir: Path, verb: str):
    assert f"Example: speechvq {verb} " in python(site, workdir, "-m", "speechvq", verb, "--help")
