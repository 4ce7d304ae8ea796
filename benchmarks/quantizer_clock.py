"""How time is read: interleaved rounds in one process."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from quantizer_memory import refusal

RESET_EVERY = 100
"""Calls after which a contestant's state is put back: unused codes' counts shrink towards denormals."""
SHORTEST = 1e-3
"""Seconds that a sample should take at least; shorter calls are repeated within a sample."""

type Stopwatch = Callable[[Callable[[], object], int], tuple[float, object]]
"""Calls something so many times; returns the seconds that took and what the last call returned."""


@dataclass
class Contestant:
    """Somebody who does a row's work.

    Attributes:
        call: does it once.
        reset: puts the state back; not timed.
        main: is one of the two that the ratio is of; the others give way when time is short.
        part: it does this part of the work, and its time is multiplied by as much.
        first: what the first call returned.
        failure: why it could not take part, if so.
    """

    name: str
    call: Callable[[], object]
    reset: Callable[[], None] | None = None
    main: bool = True
    part: int = 1
    calls: int = 0
    first: object = None
    failure: str = ""

    def sample(self, watch: Stopwatch, inner: int) -> float:
        """Seconds per call over ``inner`` calls in a row."""
        if self.reset and self.calls and self.calls // RESET_EVERY != (self.calls + inner) // RESET_EVERY:
            self.reset()
        self.calls += inner
        seconds, result = watch(self.call, inner)
        if self.first is None:
            self.first = result
        return self.part * seconds / inner


def stopwatch(*, threads: int, cuda: bool) -> Stopwatch:
    """Process CPU time with one thread, which others on the machine do not lengthen; else wall time.

    On a GPU, the time between two events on the device's own time line.
    """
    if cuda:
        return _between_events
    clock = time.process_time if threads == 1 else time.perf_counter

    def watch(call: Callable[[], object], count: int) -> tuple[float, object]:
        result, begin = None, clock()
        for _ in range(count):
            result = call()
        return clock() - begin, result

    return watch


def _between_events(call: Callable[[], object], count: int) -> tuple[float, object]:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    result = None
    for _ in range(count):
        result = call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3, result


def race(
    contestants: list[Contestant], watch: Stopwatch, *, seconds: float, first_counts: bool
) -> dict[str, list[float]]:
    """Samples (seconds per call) of everybody, taken in turns until ``seconds`` of wall time are over.

    Everybody is called once first. Who is so slow that this alone overstays the budget keeps that call
    as the only sample if ``first_counts`` or if the ratio does not need it; else one round is taken.
    A round gives the quicker ones up to ten samples, so that a slow peer does not leave us with three.
    """
    samples: dict[str, list[float]] = {}
    expected, racing = {}, []
    for c in contestants:
        try:
            expected[c.name] = c.sample(watch, 1)
            if expected[c.name] < seconds / 4:  # the first call is never like the others
                expected[c.name] = c.sample(watch, 1)
        except (MemoryError, RuntimeError) as error:
            c.failure = refusal(error)
            continue
        samples[c.name] = []
        if expected[c.name] > 4 * seconds and (first_counts or not c.main):
            samples[c.name].append(expected[c.name])
        else:
            racing.append(c)
    slowest = max((expected[c.name] for c in racing), default=0.0)
    begin, rounds = time.perf_counter(), 0
    while racing:
        for c in racing[:] if rounds % 2 == 0 else racing[::-1]:
            inner = max(1, round(SHORTEST / max(expected[c.name], 1e-6)))
            times = min(10, max(1, round(slowest / (10 * inner * max(expected[c.name], 1e-6)))))
            try:
                samples[c.name] += [c.sample(watch, inner) for _ in range(times)]
            except (MemoryError, RuntimeError) as error:  # the heap has grown too large by now
                c.failure = refusal(error)
                samples[c.name] = samples[c.name] or [expected[c.name]]
                racing.remove(c)
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
