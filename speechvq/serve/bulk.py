"""Many files to many files: the tree is preserved, a bar shows the way, the unusable are listed.

`plan` decides what becomes what and refuses before anything is written; `run` does it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from speechvq.errors import BadAudio, BadCodes, BadPicture, BadSetting
from speechvq.store.atomic import refuse

log = logging.getLogger(__name__)
STANDARD = "-"
"""Standard input as a source, standard output as a target."""


class Bad(StrEnum):
    """What to do about a file that cannot be used."""

    REPORT = "report"
    """Go on with the others, list it at the end, and leave with exit code 1."""
    SKIP = "skip"
    """Go on with the others, list it at the end; that is no failure unless nothing could be used."""
    REFUSE = "refuse"
    """Stop at once."""


@dataclass(frozen=True)
class Job:
    """One file to be made from another; ``-`` is standard input or output."""

    source: str
    target: str


@dataclass(frozen=True)
class Skipped:
    """A file that could not be used: its path, the reason in a few words, and the whole sentence."""

    path: str
    reason: str
    sentence: str


@dataclass(frozen=True)
class Report:
    """What a run did."""

    done: int
    skipped: tuple[Skipped, ...]

    def failed(self, bad: Bad) -> bool:
        """Whether the command should leave with a non-zero exit code."""
        return bool(self.skipped) and (bad is not Bad.SKIP or self.done == 0)

    def table(self) -> Table:
        """The skipped files with the reasons, most frequent reason first."""
        counts = Counter(item.reason for item in self.skipped)
        table = Table(title=f"{self.done} done, {len(self.skipped)} skipped", title_justify="left")
        table.add_column("why")
        table.add_column("file", overflow="fold")
        for item in sorted(self.skipped, key=lambda item: (-counts[item.reason], item.reason, item.path)):
            table.add_row(item.reason, item.path)
        return table


def plan(
    source: str,
    target: str | None,
    *,
    suffixes: Sequence[str],
    suffix: str,
    force: bool = False,
    resume: bool = False,
) -> list[Job]:
    """What to make from what.

    Args:
        source: a file, a folder, or ``-``.
        target: a file, a folder (one that exists, or any when ``source`` is a folder), ``-``, or None
            for standard output when ``source`` is standard input.
        suffixes: which files of a folder to take, in lower case with the dot.
        suffix: of the files to make in a folder.
        force: replace what is there.
        resume: leave out what is there.

    Raises:
        BadSetting: nothing to do, or a target that cannot be.
        WouldOverwrite: a target is there, and neither ``force`` nor ``resume``.
    """
    if not source or target == "":
        raise BadSetting("the name of the input or of the output is empty")
    if target is None:
        if source != STANDARD:
            raise BadSetting(
                f"say where to write what becomes of {source}: a file, a folder, or - for stdout"
            )
        target = STANDARD
    if source != STANDARD and Path(source).is_dir():
        jobs = _tree(Path(source), target, suffixes, suffix)
    else:
        if source != STANDARD and not Path(source).exists():
            raise BadSetting(f"there is no file or folder {source}")
        name = "stdin" if source == STANDARD else Path(source).stem
        inside = target != STANDARD and Path(target).is_dir()
        jobs = [Job(source, str(Path(target) / f"{name}{suffix}") if inside else target)]
    if resume:
        jobs = [job for job in jobs if job.target == STANDARD or not Path(job.target).exists()]
    for job in jobs:
        _possible(job, force=force)
    return jobs


def _tree(source: Path, target: str, suffixes: Sequence[str], suffix: str) -> list[Job]:
    folder = Path(target)
    if target == STANDARD or folder.is_file():
        raise BadSetting(f"{source} is a folder, so the output must be a folder too, not {target}")
    inside = folder.resolve() != source.resolve() and folder.resolve().is_relative_to(source.resolve())
    found = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not path.name.startswith(".")
        and not (inside and path.resolve().is_relative_to(folder.resolve()))
    ]
    if not found:
        raise BadSetting(f"{source} holds no files that end in {', '.join(suffixes)}")
    bare = Counter(path.relative_to(source).with_suffix("") for path in found)
    jobs = []
    for path in found:
        inner = path.relative_to(source)
        # a.wav and a.flac side by side would both become a.svq: they keep their own suffix as well.
        name = inner.stem if bare[inner.with_suffix("")] == 1 else inner.name
        jobs.append(Job(str(path), str(folder / inner.parent / f"{name}{suffix}")))
    return jobs


def _possible(job: Job, *, force: bool) -> None:
    """Raise now what writing would raise later, and never let a file replace itself."""
    if job.target == STANDARD:
        return
    target = Path(job.target)
    if job.source != STANDARD and target.exists() and target.samefile(job.source):
        raise BadSetting(f"{job.source} would replace itself; give the output another name")
    refuse(target, force=force)


def run(
    jobs: Sequence[Job], work: Callable[[Job], None], *, bad: Bad = Bad.REPORT, label: str = "working"
) -> Report:
    """Call ``work`` on each job, with a progress bar on stderr when there is more than one.

    Raises:
        BadAudio, BadPicture, BadCodes: a file cannot be used, and ``bad`` is "refuse", or there is one
            job only.
    """
    skipped: list[Skipped] = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=len(jobs) < 2,
    )
    with bar:
        for job in bar.track(jobs, description=label):
            try:
                work(job)
            except (BadAudio, BadPicture, BadCodes) as error:
                if bad is Bad.REFUSE or len(jobs) == 1:
                    raise
                log.debug("skipped: %s", error)
                bare = str(error).removeprefix(job.source)
                reason = bare if isinstance(error, BadCodes) else error.reason
                skipped.append(Skipped(job.source, reason.strip(), str(error)))
    return Report(len(jobs) - len(skipped), tuple(skipped))
