"""The quantizers beside their peers: time, memory, and whether they find the same codes.

Against vector-quantize-pytorch ("vqp", with straight-through; "vqp rotation" is its default), FAISS,
cdist, and the bounds, which are matrix products alone. Same inputs and codes, interleaved in one
process for each shape; medians. With one thread, process CPU time (wall time on an idle core), with
two, wall time. "neutral" keeps large blocks in the heap between calls, "default" is what users get.
On a GPU the peer in the search is flash-kmeans, if it is installed.
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from quantizer_plan import CPU_SETTINGS, CUDA_SETTINGS, GRID, ROWS, Job, Setting, plan
from quantizer_report import Cell, key, merge, show, write
from rich.console import Console
from tqdm import tqdm

RESULTS = Path(__file__).parent / "results"
FAILED = "failed"
EXAMPLES = """
examples:
  python benchmarks/quantizer.py                                    everything; hours, most of them the peers'
  python benchmarks/quantizer.py --settings neutral-1               only what the bars are about
  python benchmarks/quantizer.py --rows search,eval --K 512,1024    part of it
  python benchmarks/quantizer.py --quick --seconds 0.2              whether it runs at all, seconds
  python benchmarks/quantizer.py --resume                           go on where a run was stopped
  python benchmarks/quantizer.py --device cuda                      on a GPU
"""


def main() -> int:
    """Measure, print, and write after every cell."""
    asked = _arguments()
    settings = [s for s in _settings(asked.device) if s.name in asked.settings]
    about = _about(settings[0])
    out = asked.out or _place(asked, about["machine"])
    cells = _resumed(out, about) if asked.resume else []
    jobs = [j for j in plan(asked.rows, settings, quick=asked.quick, large=asked.large) if _wanted(j, asked)]
    console = Console(width=200 if not sys.stdout.isatty() else None, highlight=False)
    bar = tqdm(jobs, unit="process", disable=None)
    for job in bar:
        bar.set_postfix_str(f"{job.setting.name} {job.shape.words}: {' '.join(job.rows)}")
        for cell in _run(job, [row for row in job.rows if not _done(row, job, cells)], asked):
            merge(cells, cell)
            if out:
                write(out, about, cells)
    show(cells, console)
    if out:
        console.print(f"written: {out}")
    return 1 if any(FAILED in c.get("skipped", {}) for c in cells) else 0


def _wanted(job: Job, asked: argparse.Namespace) -> bool:
    return all(not getattr(asked, axis) or getattr(job.shape, axis) in getattr(asked, axis) for axis in "NDK")


def _done(row: str, job: Job, cells: list[Cell]) -> bool:
    found = next(
        (c for c in cells if key(c) == (row, job.shape.N, job.shape.D, job.shape.K, job.setting.name)), {}
    )
    return job.only in found.get("mib", {}) if job.only else bool(found)


def _run(job: Job, rows: list[str], asked: argparse.Namespace) -> Iterator[Cell]:
    """The cells of a job as its process finishes them; a process that dies costs the cell it was at."""
    shape = {"N": job.shape.N, "D": job.shape.D, "K": job.shape.K}
    order = shape | {"only": job.only, "seconds": asked.seconds, "limit": asked.limit}
    while rows:
        for cell in _ask(job.setting, order | {"rows": rows}):
            rows = rows[1:]
            yield cell
        if rows:
            why = "its process died: killed, or by an error that stands above"
            yield shape | {"row": rows[0], "setting": job.setting.name, "skipped": {FAILED: why}}
            rows = rows[1:]


def _ask(setting: Setting, order: dict[str, object]) -> Iterator[Cell]:
    command = [sys.executable, str(Path(__file__).with_name("quantizer_cell.py"))]
    with subprocess.Popen(
        command,
        env=os.environ | setting.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(order | {"setting": setting.name}) + "\n")
        process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)


def _about(setting: Setting) -> dict[str, object]:
    machine = next(iter(_ask(setting, {"describe": True})), None)
    if machine is None:
        raise SystemExit("the measuring process could not start; its error stands above")
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": shlex.join(["python", "benchmarks/quantizer.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "revision": revision.stdout.strip() or None,
        "machine": machine,
    }


def _settings(device: str) -> tuple[Setting, ...]:
    return CUDA_SETTINGS if device == "cuda" else CPU_SETTINGS


def _place(asked: argparse.Namespace, machine: dict[str, str]) -> Path | None:
    """Where results go by default; a quick run is no result."""
    if asked.quick:
        return None
    name = machine["device"].lower().replace(" ", "-") if asked.device == "cuda" else "cpu"
    return RESULTS / f"quantizer-{name}.json"


def _resumed(out: Path | None, about: dict[str, object]) -> list[Cell]:
    if out is None or not out.exists():
        return []
    before = json.loads(out.read_text())
    if before["machine"] != about["machine"]:
        raise SystemExit(f"{out} is from another machine or other libraries; name another file with --out")
    # Of a process that died nothing is kept, so that it is tried again.
    return [c for c in before["cells"] if FAILED not in c.get("skipped", {})]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = lambda text: text.split(",")  # noqa: E731
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    add = parser.add_argument
    add("--rows", type=names, default=list(ROWS), help=f"of {','.join(ROWS)}")
    add("--settings", type=names, help=f"of {','.join(s.name for s in CPU_SETTINGS)} (default: all)")
    for axis, what in (("N", "vectors"), ("D", "channels"), ("K", "codes")):
        sizes = sorted({getattr(shape, axis) for shape in GRID})
        add(
            f"--{axis}", type=numbers, help=f"only shapes with so many {what}, of {','.join(map(str, sizes))}"
        )
    add("--seconds", type=float, default=5.0, help="time for a cell, if its calls are shorter (%(default)s)")
    add("--limit", type=float, default=10.0, help="GiB that a peer may take in a cell (%(default)s)")
    add("--large", action="store_true", help="the shared row at N 32768 too")
    add("--quick", action="store_true", help="small shapes only, to see that it runs")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--out", type=Path, help="results as JSON (default: benchmarks/results/quantizer-cpu.json)")
    add("--resume", action="store_true", help="keep the cells that the file has")
    asked = parser.parse_args()
    known = [s.name for s in _settings(asked.device)]
    asked.settings = asked.settings or known
    for wrong in (set(asked.rows) - set(ROWS)) | (set(asked.settings) - set(known)):
        parser.error(f"there is no {wrong!r}; rows are {', '.join(ROWS)}; settings {', '.join(known)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
