"""Runs commands that depend on one another, a few at a time, and notes what each of them took.

What a stage made is kept: started again, only what is missing is run. A stage's output goes to a file of
its own; the terminal is told what starts, what ends and what is kept.
"""

import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from speechvq.store.atomic import atomic


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of letters that a file's name may have.
        command: the program and its arguments.
        makes: a file that is there once it has run.
        after: names of the stages that it needs.
        key: what the result depends on beside the command (the codec's fingerprint, say). With one, a
            stage is done if it was run with this key; without, if ``makes`` is there, whoever made it.
        left_out: said if it fails, and the run goes on without it and what needs it; "": a failure is
            the end.
    """

    name: str
    command: tuple[str, ...]
    makes: Path
    after: tuple[str, ...] = ()
    key: str = ""
    left_out: str = ""


@dataclass(frozen=True)
class Took:
    """What one stage took.

    Attributes:
        name: of the stage, or "whole" for a run in which nothing was kept.
        command: as one would type it.
        wall: seconds by the clock.
        cpu: seconds of processor, of the command and all its processes; 0 where it is not known.
        slots: how many stages ran at a time.
        machine: processor and system.
    """

    name: str
    command: str
    wall: float
    cpu: float
    slots: int
    machine: str


def run(stages: Sequence[Stage], folder: Path, slots: int) -> None:
    """Run all that is not done, at most ``slots`` at a time; records and outputs go to ``folder``.

    Raises:
        SystemExit: a stage failed that the others cannot do without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun, kept = time.monotonic(), False
    waiting, done = list(stages), set[str]()
    running: dict[Future[str], Stage] = {}
    with ThreadPoolExecutor(slots) as pool:
        while waiting or running:
            while there := [s for s in waiting if done.issuperset(s.after) and _is_done(s, folder)]:
                for stage in there:
                    print(f"kept    {stage.name}", flush=True)
                    waiting.remove(stage)
                    done.add(stage.name)
                    kept = True
            for stage in [s for s in waiting if done.issuperset(s.after)][: slots - len(running)]:
                waiting.remove(stage)
                running[pool.submit(_do, stage, folder, slots)] = stage
            for future in wait(running, return_when=FIRST_COMPLETED)[0]:
                stage = running.pop(future)
                if not (why := future.result()):
                    done.add(stage.name)
                    continue
                if not stage.left_out:
                    waiting = []
                    raise SystemExit(f"{stage.name} failed: {why}\nits output: {_log(stage, folder)}")
                print(f"{stage.left_out} ({why})", flush=True)
                waiting = _without(waiting, stage.name)
    if not kept:
        write(Took("whole", "", time.monotonic() - begun, 0, slots, machine()), folder / "whole.json")


def taken(stages: Sequence[Stage], folder: Path) -> list[Took]:
    """What these stages took when they were run; those done by others are not listed."""
    paths = [*(_record(stage, folder) for stage in stages), folder / "whole.json"]
    return [Took(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def machine() -> str:
    """Processor, cores and system."""
    name = platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        models = [line for line in about.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def write(took: Took, path: Path) -> None:
    """Keep a record."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(asdict(took), indent=1) + "\n", encoding="utf-8")


def _do(stage: Stage, folder: Path, slots: int) -> str:
    """Run one; returns why it failed, or nothing."""
    print(f"start   {stage.name}", flush=True)
    threads = os.environ.get("OMP_NUM_THREADS", "1" if slots > 1 else str(os.cpu_count()))
    begun = time.monotonic()
    with _log(stage, folder).open("w", encoding="utf-8") as log:
        made = subprocess.Popen(
            stage.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        )  # fmt: skip
        _, status, usage = os.wait4(made.pid, 0)  # unlike wait(), this tells the processor's time
        made.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    if made.returncode or not stage.makes.exists():
        said = _log(stage, folder).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), f"exit code {made.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    write(Took(stage.name, shlex.join(stage.command), wall, cpu, slots, machine()), _record(stage, folder))
    print(f"done    {stage.name}: {wall:.0f} s, {cpu:.0f} s of processor", flush=True)
    return ""


def _is_done(stage: Stage, folder: Path) -> bool:
    return stage.makes.exists() and (not stage.key or _record(stage, folder).exists())


def _record(stage: Stage, folder: Path) -> Path:
    return folder / f"{stage.name}{'-' if stage.key else ''}{stage.key}.json"


def _log(stage: Stage, folder: Path) -> Path:
    return folder / f"{stage.name}.log"


def _without(stages: Sequence[Stage], missing: str) -> list[Stage]:
    """Those that can be run without the missing one."""
    gone = {missing}
    while more := {stage.name for stage in stages if gone & set(stage.after)} - gone:
        gone |= more
    return [stage for stage in stages if stage.name not in gone]
