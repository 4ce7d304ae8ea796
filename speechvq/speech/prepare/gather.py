"""From what a corpus says of its recordings to checked manifest entries, and a table of what was left out."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.audio import Checks, blocks, facts, read_audio, write_audio
from speechvq.speech.prepare.process import Processing, process
from speechvq.store.manifest import Entry

TWICE = "has the speaker and name of another recording"


@dataclass(frozen=True)
class Options:
    """What every corpus understands."""

    valid: float = 0.05  # fraction of the utterances held out for validation, where the corpus has no split
    test: float = 0.05  # fraction held out for the test
    seed: int = 0  # of the split: the same seed holds out the same utterances
    on_bad: str = "skip"  # skip: leave bad recordings out and report them; refuse: stop at the first
    shortest: float = 0.5  # seconds; shorter recordings are left out
    checks: Checks = field(default_factory=Checks)  # what else makes a recording bad
    processing: Processing | None = None  # None: the manifest points at the originals; else copies are made
    workers: int = 0  # recordings in work at a time; 0: one a core
    progress: bool = False  # show a bar on standard error

    def __post_init__(self) -> None:
        if self.valid < 0 or self.test < 0 or self.valid + self.test >= 1:
            raise BadSetting(
                f"valid {self.valid} and test {self.test} must be at least 0 and leave some to train"
            )
        if self.on_bad not in ("skip", "refuse"):
            raise BadSetting(f"on_bad must be skip or refuse, not {self.on_bad!r}")
        if self.shortest < 0 or self.workers < 0:
            raise BadSetting("shortest and workers must be at least 0")


@dataclass(frozen=True)
class Recording:
    """What a corpus says about one recording before it is opened."""

    path: Path
    speaker: str
    utterance: str  # equal in two voices when they say the same
    split: str
    text: str | None = None
    alignment: Path | None = None
    start: float = 0.0  # seconds
    duration: float | None = None  # seconds; None: to the end


@dataclass(frozen=True)
class Skipped:
    """What was left out: for each reason, the paths."""

    paths: dict[str, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """How many for each reason, the most frequent first."""
        return dict(sorted(((k, len(v)) for k, v in self.paths.items()), key=lambda item: -item[1]))

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(map(len, self.paths.values()))


@dataclass(frozen=True)
class Prepared:
    """What a preparer returns."""

    entries: list[Entry]  # for `write_manifest`, in the corpus's order
    skipped: Skipped


class _TooShort(BadAudio):
    """Not a fault of the recording, so never a reason to stop."""


def gather(
    recordings: Iterable[Recording],
    out: Path,
    options: Options,
    *,
    bad: Sequence[BadAudio] = (),
    left_out: Sequence[BadAudio] = (),
    source: str = "the corpus",
) -> Prepared:
    """Check every recording by reading it through, make the copies asked for, and list both.

    Copies go to ``out/processed/<speaker>/<utterance>.flac``. ``bad`` is what the corpus reader itself
    has found unusable, ``left_out`` what it leaves out for no fault of the recording; like what is too short
    and the second of two recordings with one speaker and utterance, that is reported and never refused.

    Raises:
        BadAudio: a recording is bad and ``options.on_bad`` is "refuse".
        BadSetting: nothing is left; the sentence has the most frequent reason.
    """
    chosen: dict[tuple[str, str], Recording] = {}
    if bad and options.on_bad == "refuse":
        raise bad[0]
    problems = [*bad, *left_out]
    for recording in recordings:
        if chosen.setdefault((recording.speaker, recording.utterance), recording) is not recording:
            problems.append(BadAudio(recording.path, TWICE))

    def take(recording: Recording) -> Entry | BadAudio:
        try:
            return _entry(recording, out, options)
        except BadAudio as error:
            if options.on_bad == "refuse" and not isinstance(error, _TooShort):
                raise
            return error

    found = in_parallel(take, list(chosen.values()), options, title="Checking recordings")
    entries = [e for e in found if isinstance(e, Entry)]
    problems += [e for e in found if isinstance(e, BadAudio)]
    skipped = _table(problems)
    if not entries:
        most = next(iter(skipped.counts), "there are no recordings in its layout")
        raise BadSetting(f"{source} gave nothing to use ({skipped.total} left out, most often: {most})")
    return Prepared(entries, skipped)


def in_parallel[T, R](
    function: Callable[[T], R], items: Sequence[T], options: Options, *, title: str
) -> list[R]:
    """``function`` of every item, in order, on several threads (decoders and filters let go of Python)."""
    results: dict[int, R] = {}
    pool = ThreadPoolExecutor(options.workers or os.cpu_count() or 1)
    try:
        waiting = {pool.submit(function, item): at for at, item in enumerate(items)}
        # Not rich's `track`: an error would leave its thread to the collector, which may run in one of ours.
        with Progress(console=Console(stderr=True), disable=not options.progress, transient=True) as progress:
            bar = progress.add_task(title, total=len(items))
            for done in as_completed(waiting):
                results[waiting[done]] = done.result()
                progress.advance(bar)
    finally:  # on an error or Ctrl-C, what has not begun is not begun
        pool.shutdown(cancel_futures=True)
    return [results[at] for at in range(len(items))]


def _entry(recording: Recording, out: Path, options: Options) -> Entry:
    """Read one recording through, with its copy if asked for."""
    path, record = recording.path, None
    if options.processing is None:
        start, duration = recording.start, _length(recording, options)
        _long_enough(recording, duration, options)
    else:
        done = process(_read(recording, options.processing.sample_rate, options), options.processing)
        start, duration, record = done.start, done.duration, options.processing.record
        _long_enough(recording, duration, options)
        if recording.start:  # phone times count from the start of the original
            record["cut"] = recording.start
        path = out / "processed" / recording.speaker / f"{recording.utterance}.flac"
        write_audio(path, done.wave, options.processing.sample_rate)
    return Entry(
        path=str(path.absolute()),
        start=round(start, 6),
        duration=round(duration, 6),
        speaker=recording.speaker,
        utterance=recording.utterance,
        split=recording.split,
        text=recording.text,
        alignment=None if recording.alignment is None else str(recording.alignment.absolute()),
        processing=record,
    )


def _length(recording: Recording, options: Options) -> float:
    """Seconds, by decoding: headers are not always right, and what is inside must be checked anyway."""
    rate = facts(recording.path, checks=options.checks).rate
    if recording.start or recording.duration is not None:
        return _read(recording, rate, options).shape[1] / rate
    return sum(block.shape[1] for block in blocks(recording.path, rate, checks=options.checks)) / rate


def _read(recording: Recording, rate: int, options: Options) -> Tensor:
    part = {"start": recording.start, "duration": recording.duration}
    return read_audio(recording.path, sample_rate=rate, checks=options.checks, **part)


def _long_enough(recording: Recording, duration: float, options: Options) -> None:
    if duration < options.shortest:
        raise _TooShort(recording.path, f"is shorter than {options.shortest:g} s")


def _table(problems: Iterable[BadAudio]) -> Skipped:
    paths: dict[str, tuple[str, ...]] = {}
    for problem in problems:
        paths[problem.reason] = (*paths.get(problem.reason, ()), problem.path)
    return Skipped(paths)
