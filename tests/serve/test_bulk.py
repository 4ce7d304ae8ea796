"""Corpus runs: what becomes what, what is refused before anything is written, what is skipped."""

from pathlib import Path

import pytest

from speechvq.errors import BadAudio, BadCodes, BadSetting, WouldOverwrite
from speechvq.serve.bulk import Bad, Job, plan, run

SOUND = (".wav", ".flac")


def tree(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_the_tree_is_preserved(workdir: Path) -> None:
    tree(workdir, "in/a.wav", "in/b/c.WAV", "in/b/d/e.flac", "in/notes.txt", "in/b/.hidden.wav")
    jobs = plan("in", "out", suffixes=SOUND, suffix=".svq")
    assert jobs == [
        Job("in/a.wav", "out/a.svq"),
        Job("in/b/c.WAV", "out/b/c.svq"),
        Job("in/b/d/e.flac", "out/b/d/e.svq"),
    ]


def test_equal_stems_keep_their_suffix(workdir: Path) -> None:
    tree(workdir, "in/a.wav", "in/a.flac", "in/b.wav")
    targets = [job.target for job in plan("in", "out", suffixes=SOUND, suffix=".svq")]
    assert targets == ["out/a.flac.svq", "out/a.wav.svq", "out/b.svq"]


def test_an_output_inside_the_input_is_no_input(workdir: Path) -> None:
    tree(workdir, "in/a.wav", "in/out/a.wav")
    assert plan("in", "in/out", suffixes=SOUND, suffix=".wav", force=True) == [
        Job("in/a.wav", "in/out/a.wav")
    ]


def test_one_file(workdir: Path) -> None:
    tree(workdir, "a.wav", "folder/x.txt")
    assert plan("a.wav", "b.svq", suffixes=SOUND, suffix=".svq") == [Job("a.wav", "b.svq")]
    assert plan("a.wav", "folder", suffixes=SOUND, suffix=".svq") == [Job("a.wav", "folder/a.svq")]
    assert plan("a.wav", "-", suffixes=SOUND, suffix=".svq") == [Job("a.wav", "-")]
    assert plan("-", None, suffixes=SOUND, suffix=".svq") == [Job("-", "-")]
    assert plan("-", "folder", suffixes=SOUND, suffix=".svq") == [Job("-", "folder/stdin.svq")]


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("none.wav", "b.svq", "there is no file or folder none.wav"),
        ("a.wav", None, "say where to write"),
        ("in", "-", "must be a folder too"),
        ("in", "a.wav", "must be a folder too"),
        ("empty", "out", r"holds no files that end in .wav, .flac"),
        ("a.wav", "a.wav", "would replace itself"),
        ("in", "in", "would replace itself"),
    ],
)
def test_what_cannot_be(workdir: Path, source: str, target: str | None, words: str) -> None:
    tree(workdir, "a.wav", "in/b.wav", "empty/c.txt")
    with pytest.raises(BadSetting, match=words):
        plan(source, target, suffixes=SOUND, suffix=".wav", force=True)


def test_overwriting_is_asked_for_before_any_work(workdir: Path) -> None:
    tree(workdir, "in/a.wav", "in/b.wav", "out/b.svq")
    with pytest.raises(WouldOverwrite, match="b.svq"):
        plan("in", "out", suffixes=SOUND, suffix=".svq")
    assert len(plan("in", "out", suffixes=SOUND, suffix=".svq", force=True)) == 2
    assert plan("in", "out", suffixes=SOUND, suffix=".svq", resume=True) == [Job("in/a.wav", "out/a.svq")]


def work(job: Job) -> None:
    if "empty" in job.source:
        raise BadAudio(job.source, "is empty")
    if "codes" in job.source:
        raise BadCodes(f"{job.source} is damaged")
    if "full" in job.source:
        raise OSError("the disk")


def test_bad_files_are_listed_with_their_reasons() -> None:
    jobs = [Job(name, "x") for name in ("a", "empty1", "codes", "empty2", "b")]
    report = run(jobs, work)
    assert report.done == 2
    assert [(item.path, item.reason) for item in report.skipped] == [
        ("empty1", "is empty"),
        ("codes", "is damaged"),
        ("empty2", "is empty"),
    ]
    assert report.failed(Bad.REPORT)
    assert not report.failed(Bad.SKIP)
    assert list(report.table().columns[0].cells) == ["is empty", "is empty", "is damaged"]


def test_nothing_usable_is_a_failure_in_any_case() -> None:
    assert run([Job("empty1", "x"), Job("empty2", "x")], work, bad=Bad.SKIP).failed(Bad.SKIP)
    assert not run([], work).failed(Bad.REPORT)


def test_refusing_stops_at_once_and_so_does_a_full_disk() -> None:
    done = []
    jobs = [Job(name, "x") for name in ("a", "empty", "b")]
    with pytest.raises(BadAudio):
        run(jobs, lambda job: (work(job), done.append(job.source)), bad=Bad.REFUSE)
    assert done == ["a"]
    with pytest.raises(BadAudio):
        run([Job("empty", "x")], work)
    with pytest.raises(OSError, match="disk"):
        run([Job("a", "x"), Job("full", "x")], work)
