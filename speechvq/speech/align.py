"""Forced alignment of a corpus: the recordings of a manifest that have an English text get phone times.

`align_manifest` does the work of `Aligner` on every recording, in several processes if asked; what an earlier
run has made is kept.
"""

import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from speechvq.errors import BadAlignment, BadAudio, BadSetting, UnknownWords
from speechvq.speech.aligner import RATE, Aligner, Pronunciations, need_pocketsphinx
from speechvq.speech.audio import read_audio
from speechvq.speech.pronounce import Spell, read_dictionary
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry


@dataclass(frozen=True)
class AlignOptions:
    """How a corpus is aligned."""

    jobs: int = 1  # processes
    dictionary: Path | None = None  # more words, in the format of the CMU dictionary
    spell: Spell | None = None  # numbers and unusual spellings to plain words; see `words_of`
    speakers: tuple[str, ...] = ()  # only these voices; () is all
    again: bool = False  # also what is there from an earlier run
    refuse: bool = False  # raise at the first recording that cannot be aligned, instead of going on
    progress: bool = False  # show a bar on stderr

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise BadSetting(f"jobs must be at least 1, not {self.jobs}")


@dataclass(frozen=True)
class Aligned:
    """What became of a corpus."""

    entries: list[Entry]  # all of them; what was aligned names its new file
    made: int  # files written now
    kept: int  # files there already
    skipped: tuple[BadAudio, ...]  # what could not be aligned, and why
    unknown: dict[str, int]  # the words that the dictionary does not have, the most frequent first


def align_manifest(entries: Sequence[Entry], out: str | Path, options: AlignOptions | None = None) -> Aligned:
    """Align the recordings and write ``<out>/phones/<speaker>/<utterance>.phones`` (``start end phone``).

    Times count from the start of the original file, as everywhere. The first line of a file says of what it
    was made; a file that was made of the same text and part is kept, so an interrupted run goes on.

    Raises:
        BadAlignment: nothing could be aligned; or ``options.refuse`` and one could not.
        BadSetting: there is no recording of these voices.
        MissingExtra: pocketsphinx is not installed.
    """
    options, tasks = options or AlignOptions(), _tasks(entries, Path(out))
    chosen = {at for at, e in enumerate(entries) if not options.speakers or e.speaker in options.speakers}
    if not chosen:
        raise BadSetting(f"no recording is of {' or '.join(options.speakers) or 'anybody'}")
    tasks = {at: task for at, task in tasks.items() if at in chosen}
    waiting = [at for at, task in tasks.items() if options.again or not task.done()]
    skipped = {at: BadAudio(entries[at].path, "has no text") for at in sorted(chosen - set(tasks))}
    unknown: Counter[str] = Counter()
    for at, problem in _made({at: tasks[at] for at in waiting}, options):
        if problem is not None:
            skipped[at] = BadAudio(entries[at].path, problem.reason)
            unknown.update(problem.unknown)
        if problem is not None and options.refuse:
            raise BadAlignment(f"{skipped[at]}" + _listed(unknown))
    done = {at: str(Path(tasks[at].target).absolute()) for at in tasks if at not in skipped}
    if not done:
        reason, _ = Counter(error.reason for error in skipped.values()).most_common(1)[0]
        sentence = f"none of the {len(chosen)} recordings could be aligned (most often: {reason})"
        raise BadAlignment(sentence + _listed(unknown))
    aligned = [replace(e, alignment=done[at]) if at in done else e for at, e in enumerate(entries)]
    made = sum(at not in skipped for at in waiting)
    problems = tuple(skipped[at] for at in sorted(skipped))
    return Aligned(aligned, made, len(tasks) - len(waiting), problems, dict(unknown.most_common()))


@dataclass(frozen=True)
class _Task:
    """One recording to align."""

    entry: Entry
    text: str
    target: Path

    @property
    def head(self) -> str:
        """Of what the file is made, on its first line."""
        e = self.entry
        return f"# {' '.join(self.text.split())} | {Path(e.path).name} {e.start:g} s + {e.duration:g} s"

    def done(self) -> bool:
        """Whether the file is there, made of the same."""
        try:
            with self.target.open(encoding="utf-8") as file:
                return file.readline().rstrip("\n") == self.head
        except (OSError, UnicodeDecodeError):
            return False


@dataclass(frozen=True)
class _Problem:
    """Why a recording could not be aligned."""

    reason: str
    unknown: tuple[str, ...] = ()


def _tasks(entries: Sequence[Entry], out: Path) -> dict[int, _Task]:
    """The recordings that have a text, each with a file of its own."""
    tasks, taken = {}, Counter()
    for at, entry in enumerate(entries):
        parts = (re.sub(r"[^\w.-]+", "_", p) for p in (entry.speaker, *entry.utterance.split("/")))
        name = "/".join(part for part in parts if part.strip("."))
        taken[name.lower()] += 1
        if (count := taken[name.lower()]) > 1:  # another part or take of the same
            name = f"{name}~{count}"
        if entry.text and entry.text.strip():
            tasks[at] = _Task(entry, entry.text, out / "phones" / f"{name}.phones")
    return tasks


def _align(aligner: Aligner, task: _Task) -> _Problem | None:
    """Align one recording and store its phones."""
    entry = task.entry
    try:
        wave = read_audio(entry.path, sample_rate=RATE, start=entry.start, duration=entry.duration)
        intervals = aligner.align(wave, task.text)
    except UnknownWords as error:
        return _Problem("has words that are not in the dictionary", error.words)
    except BadAudio as error:
        return _Problem(error.reason)
    except BadAlignment as error:
        return _Problem(str(error))
    shift = entry.start + float((entry.processing or {}).get("cut", 0.0))
    lines = (f"{i.start + shift:.4f} {i.end + shift:.4f} {i.label}\n" for i in intervals)
    with atomic(task.target) as temporary:
        temporary.write_text(f"{task.head}\n{''.join(lines)}", encoding="utf-8")
    return None


def _made(tasks: Mapping[int, _Task], options: AlignOptions) -> Iterator[tuple[int, _Problem | None]]:
    """Each recording and what was wrong with it, as they are done."""
    need_pocketsphinx()  # now: in a new process it would be a broken pool instead of a sentence
    more = {} if options.dictionary is None else read_dictionary(options.dictionary)
    done = _here(tasks, more, options.spell) if options.jobs == 1 else _elsewhere(tasks, more, options)
    console = Console(stderr=True)
    yield from track(
        done, "Aligning", len(tasks), console=console, disable=not options.progress, transient=True
    )


def _here(
    tasks: Mapping[int, _Task], more: Pronunciations, spell: Spell | None
) -> Iterator[tuple[int, _Problem | None]]:
    aligner = Aligner(more, spell) if tasks else None
    for at, task in tasks.items():
        if aligner is not None:
            yield at, _align(aligner, task)


def _elsewhere(
    tasks: Mapping[int, _Task], more: Pronunciations, options: AlignOptions
) -> Iterator[tuple[int, _Problem | None]]:
    """In several new processes, each with a decoder of its own."""
    context = multiprocessing.get_context("spawn")  # forking a process that runs torch can hang
    setup = (more, options.spell)
    pool = ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_set_up, initargs=setup)
    try:
        places = {pool.submit(_in_worker, task): at for at, task in tasks.items()}
        yield from ((places[done], done.result()) for done in as_completed(places))
    finally:  # on an error or Ctrl-C, what has not begun is not begun
        pool.shutdown(cancel_futures=True)


_worker: Aligner | None = None  # of a process of the pool


def _set_up(more: Pronunciations, spell: Spell | None) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Aligner(more, spell)


def _in_worker(task: _Task) -> _Problem | None:
    if _worker is None:
        raise RuntimeError("a worker was not set up")
    return _align(_worker, task)


def _listed(unknown: Counter[str]) -> str:
    words = ", ".join(word for word, _ in unknown.most_common(10))
    return f"; not in the dictionary: {words}" if words else ""
