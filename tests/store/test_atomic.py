"""A file appears whole or not at all."""

from pathlib import Path

import pytest

from speechvq.errors import BadSetting, WouldOverwrite
from speechvq.store.atomic import atomic, refuse


def test_appears_whole_with_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.wav"
    with atomic(target) as temporary:
        assert temporary.suffix == ".wav"
        assert temporary.parent == target.parent
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [p.name for p in target.parent.iterdir()] == ["b.wav"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_failure_leaves_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")

    def write() -> None:
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_overwrite_without_force(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(WouldOverwrite, match="--force"), atomic(target, force=False):
        pytest.fail("must not get here")
    assert target.read_text() == "old"


def test_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"

    def write() -> None:
        with atomic(target, force=False) as temporary:
            temporary.write_text("new")
            target.write_text("other")

    with pytest.raises(WouldOverwrite):
        write()
    assert target.read_text() == "other"
    assert len(list(tmp_path.iterdir())) == 1


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="folder"):
        refuse(tmp_path, force=True)
