"""How time and memory are read: interleaved rounds in one process; the rise of the peak in a fresh one."""

import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

RESET_EVERY = 100
"""Calls after which a contestant's state is put back: unused codes' counts shrink towards denormals."""
SHORTEST = 1e-3
"""Seconds that a sample should take at least; shorter calls are repeated within a sample."""


@dataclass
class Contestant:
    """Somebody who does a row's work.

    Attributes:
        call: does it once.
        reset: puts the state back; not timed.
        main: is one of the two that the ratio is of; the others give way when time is short.
        first: what the first call returned.
    """

    name: str
    call: Callable[[], object]
    reset: Callable[[], None] | None = None
    main: bool = True
    calls: int = 0
    first: object = None

    def sample(self, clock: Callable[[], float], inner: int) -> float:
        """Seconds per call over ``inner`` calls in a row."""
        if self.reset and self.calls and self.calls // RESET_EVERY != (self.calls + inner) // RESET_EVERY:
            self.reset()
        self.calls += inner
        result, begin = None, clock()
        for _ in range(inner):
            result = self.call()
        spent = (clock() - begin) / inner
        if self.first is None:
            self.first = result
        return spent


def clock_for(*, threads: int, cuda: bool) -> Callable[[], float]:
    """Process CPU time with one thread, which others on the machine do not lengthen; else wall time.

    On a GPU the wall clock is read after the device is done, from events on its own time line.
    """
    if cuda:
        return _device_clock()
    return time.process_time if threads == 1 else time.perf_counter


def _device_clock() -> Callable[[], float]:
    torch.cuda.synchronize()
    start = torch.cuda.Event(enable_timing=True)
    start.record()

    def read() -> float:
        now = torch.cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()
        return start.elapsed_time(now) / 1e3

    return read


def race(
    contestants: list[Contestant], clock: Callable[[], float], *, seconds: float, first_counts: bool
) -> dict[str, list[float]]:
    """Samples (seconds per call) of everybody, taken in turns until ``seconds`` of wall time are over.

    Everybody is called once first. Who is so slow that this alone overstays the budget keeps that call
    as the only sample if ``first_counts`` or if the ratio does not need it; else one round is taken.
    A round gives the quicker ones up to ten samples, so that a slow peer does not leave us with three.
    """
    samples: dict[str, list[float]] = {c.name: [] for c in contestants}
    expected, racing = {}, []
    for c in contestants:
        expected[c.name] = c.sample(clock, 1)
        if expected[c.name] > 4 * seconds and (first_counts or not c.main):
            samples[c.name].append(expected[c.name])
            continue
        if expected[c.name] < seconds / 4:  # the first call is never like the others
            expected[c.name] = c.sample(clock, 1)
        racing.append(c)
    slowest = max((expected[c.name] for c in racing), default=0.0)
    begin, rounds = time.perf_counter(), 0
    while racing:
        for c in racing if rounds % 2 == 0 else racing[::-1]:
            inner = max(1, round(SHORTEST / max(expected[c.name], 1e-6)))
            times = min(10, max(1, round(slowest / (10 * inner * max(expected[c.name], 1e-6)))))
            samples[c.name] += [c.sample(clock, inner) for _ in range(times)]
        rounds += 1
        spent = time.perf_counter() - begin
        if spent > seconds and (rounds >= 3 or spent > 3 * seconds):
            break
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Median and quartiles in milliseconds, and how many samples there were."""
    ordered = sorted(1e3 * s for s in samples)
    quarter = len(ordered) // 4
    return {
        "ms": statistics.median(ordered),
        "low": ordered[quarter],
        "high": ordered[-1 - quarter],
        "samples": len(ordered),
    }


def rise(call: Callable[[], object], *, cuda: bool) -> float:
    """MiB by which the peak of resident (or device) memory rises over what is held before the call.

    Raises:
        OSError: the system does not tell (it needs Linux's /proc).
    """
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what lies freed in the heap would hide part of the rise
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is resident now
    before = _peak()
    call()
    return _peak() - before


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def available() -> int:
    """Bytes that the machine can still give; a lot where it does not tell."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return 1 << 62
    lines = info.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
