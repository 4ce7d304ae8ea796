"""Stages that depend on one another, with commands of the shell."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "unit_discovery"


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE))
    return importlib.import_module("stages")


def shell(stages: ModuleType, folder: Path, name: str, *after: str, line: str = "", **options: str):
    """A stage that notes its name in a list, runs ``line``, and makes a file of its own."""
    command = f"echo {name} >> {folder}/order; {line or 'true'} && touch {folder}/{name}"
    return stages.Stage(name, ("sh", "-c", command), folder / name, after, **options)


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text().split()


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_what_is_needed_comes_first_and_nothing_runs_twice(stages: ModuleType, tmp_path: Path, slots: int):
    some = [
        shell(stages, tmp_path, "last", "left", "right"), shell(stages, tmp_path, "left", "first"),
        shell(stages, tmp_path, "right", "first"), shell(stages, tmp_path, "first"),
    ]  # fmt: skip
    stages.run(some, tmp_path / "records", slots)
    ran = order(tmp_path)
    assert ran[0] == "first"
    assert ran[-1] == "last"
    assert sorted(ran) == ["first", "last", "left", "right"]
    took = stages.taken(some, tmp_path / "records")
    assert [t.name for t in took] == ["last", "left", "right", "first", "whole"]
    assert all(t.slots == slots and t.wall > 0 for t in took)
    stages.run(some, tmp_path / "records", slots)
    assert order(tmp_path) == ran


def test_another_key_is_another_result(stages: ModuleType, tmp_path: Path):
    for key in ("a", "a", "b", "b", "a"):
        stages.run([shell(stages, tmp_path, "page", key=key)], tmp_path / "records", 1)
    assert order(tmp_path) == ["page", "page"]
    (tmp_path / "records" / "page-a.json").unlink()
    stages.run([shell(stages, tmp_path, "page", key="a")], tmp_path / "records", 1)
    assert len(order(tmp_path)) == 3


def test_what_can_be_missing_is_left_out_with_what_needs_it(
    stages: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    some = [
        shell(stages, tmp_path, "voices", line="echo there are no packages; false", left_out="No voices"),
        shell(stages, tmp_path, "align", "voices"), shell(stages, tmp_path, "score", "align"),
        shell(stages, tmp_path, "other"),
    ]  # fmt: skip
    stages.run(some, tmp_path / "records", 2)
    assert sorted(order(tmp_path)) == ["other", "voices"]
    assert "No voices (there are no packages)" in capsys.readouterr().out


def test_a_failure_is_told_and_gone_on_from(stages: ModuleType, tmp_path: Path):
    broken = shell(stages, tmp_path, "row", "first", line="echo the reason >&2; exit 3")
    first, last = shell(stages, tmp_path, "first"), shell(stages, tmp_path, "last", "row")
    with pytest.raises(SystemExit, match="row failed: the reason"):
        stages.run([first, broken, last], tmp_path / "records", 2)
    assert order(tmp_path) == ["first", "row"]
    stages.run([first, shell(stages, tmp_path, "row", "first"), last], tmp_path / "records", 2)
    assert order(tmp_path) == ["first", "row", "row", "last"]
    assert not (tmp_path / "records" / "whole.json").exists()


def test_a_stage_that_makes_nothing_has_failed(stages: ModuleType, tmp_path: Path):
    stage = stages.Stage("empty", ("true",), tmp_path / "nothing")
    with pytest.raises(SystemExit, match="empty failed"):
        stages.run([stage], tmp_path / "records", 1)


def test_time_of_the_processor_counts_children(stages: ModuleType, tmp_path: Path):
    busy = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.3: pass'"
    stages.run([shell(stages, tmp_path, "busy", line=f'sh -c "{busy}"; true')], tmp_path / "records", 1)
    assert json.loads((tmp_path / "records" / "busy.json").read_text())["cpu"] >= 0.3


def test_every_stage_of_the_recipe_can_be_reached(
    stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    discover = importlib.import_module("discover")
    plan = discover.Plan(Path("codec"), tmp_path, "abcdef01", 512, 1000, 40)
    for seeds in (False, True):
        all_of_them = [*discover.corpora(2), *plan.synthetic(), *plan.recorded(), *plan.alike(seeds=seeds)]
        all_of_them += plan.prior()
        names = [stage.name for stage in all_of_them]
        assert len(names) == len(set(names))
        assert all(set(stage.after) <= set(names) for stage in all_of_them)
        made = [stage.makes for stage in all_of_them]
        assert len(made) == len(set(made))
        assert sum(name.startswith("seed_") for name in names) == 2 * seeds
    assert plan.typed(seeds=True, prior=True) == "recipes/unit_discovery/run.sh codec --seeds --prior"
