"""The process that measures one job: a JSON line on standard input, a JSON line for each cell out.

    {"rows": ["eval"], "N": 512, "D": 8, "K": 64, "setting": "neutral-1", "seconds": 1, "limit": 16}

`benchmarks/quantizer.py` starts it with the variables of its setting; it is of no use otherwise.
"""

import contextlib
import json
import os
import platform
import sys
from importlib import import_module, metadata
from pathlib import Path

import torch
from quantizer_clock import race, stopwatch, summary
from quantizer_memory import HEAP_GROWTH, Room, available, confine, refusal, rise, touch
from quantizer_peers import needed
from quantizer_plan import CPU_SETTINGS, CUDA_SETTINGS, GIB, MEMORY, Setting, Shape
from quantizer_rows import checks, field_of, memory_call

SETTINGS = {s.name: s for s in (*CPU_SETTINGS, *CUDA_SETTINGS, MEMORY)}
LIBRARIES = ("torch", "numpy", "vector-quantize-pytorch", "faiss-cpu", "flash-kmeans", "triton")


def main() -> None:
    """Measure what the first line of standard input asks for."""
    asked = json.loads(sys.stdin.readline())
    setting = SETTINGS[asked["setting"]]
    torch.set_num_threads(setting.threads)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # peers talk
        if asked.get("describe"):
            answers = [describe(setting)]
        else:
            if not setting.cuda:
                confine(min(int(asked["limit"] * GIB), available()))
            shape = Shape(asked["N"], asked["D"], asked["K"])
            answers = (cell(row, shape, setting, asked) for row in asked["rows"])
        for answer in answers:
            print(json.dumps(answer), file=out, flush=True)


def cell(row: str, shape: Shape, setting: Setting, asked: dict) -> dict[str, object]:
    """One cell: the times of everybody, or the memory of one."""
    device = "cuda" if setting.cuda else "cpu"
    found = {"row": row, "N": shape.N, "D": shape.D, "K": shape.K, "setting": setting.name}
    limit = int(asked["limit"] * GIB)
    if row == "memory":
        return found | memory(asked["only"], shape, device, limit)
    heap = setting.neutral and not setting.cuda
    field = field_of(row, shape, device, Room(limit, HEAP_GROWTH if heap else 1.0))
    if heap:
        touch(field.largest)
    watch = stopwatch(threads=setting.threads, cuda=setting.cuda)
    samples = race(
        field.runners, watch, seconds=asked["seconds"], first_counts=not (setting.neutral or setting.cuda)
    )
    times = {name: summary(taken) for name, taken in samples.items()}
    skipped = field.skipped | {c.name: c.failure for c in field.runners if c.name not in times}
    parts = {c.name: c.part for c in field.runners if c.part > 1}
    return found | {"times": times, "skipped": skipped, "parts": parts} | checks(row, field)


def memory(name: str, shape: Shape, device: str, limit: int) -> dict[str, object]:
    """The rise of the peak in one call of ``name``, or why it is not known."""
    needs = needed("step", shape) if name == "vqp" else 0
    if device == "cpu" and needs > min(limit, available()):
        return {"skipped": {name: f"takes about {needs / GIB:.1f} GiB; see --limit"}}
    try:
        # Once at a small size: what is loaded or built at the first call is not the step's.
        memory_call(name, Shape(64, shape.D, 64), device)()
        return {"mib": {name: rise(memory_call(name, shape, device), cuda=device == "cuda")}}
    except ImportError as error:
        return {"skipped": {name: f"not here: {error}"}}
    except OSError as error:
        return {"skipped": {name: f"this system does not tell its peak memory: {error}"}}
    except (MemoryError, RuntimeError) as error:
        return {"skipped": {name: refusal(error)}}


def describe(setting: Setting) -> dict[str, object]:
    """The machine and the libraries, as far as they decide the figures."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open() as lines:
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    told = {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch uses": torch.backends.cpu.get_cpu_capability(),
        "our kernel": kernel(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
    }
    if setting.cuda:
        told["device"] = torch.cuda.get_device_name()
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            told[name] = metadata.version(name)
    return told


def kernel() -> str:
    """Instruction set of our compiled search, or why there is none."""
    try:
        native = import_module("speechvq.kernels.native")
    except ImportError:
        return "none: plain torch"
    return native.name() if native.available() else "none: plain torch"


if __name__ == "__main__":
    main()
