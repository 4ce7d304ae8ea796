"""How memory is read, and how it is kept from being used up.

What a peer takes is several times an N x K matrix, more than many machines have, and a machine without
memory is of no use to anybody on it. So a process may not grow beyond its limit: an allocation beyond
it fails, which is reported, and should the kernel have to end a process, it ends this one.
"""

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


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
    before = _kilobytes("/proc/self/status", "VmHWM")
    call()
    return (_kilobytes("/proc/self/status", "VmHWM") - before) / 1024


HEAP_GROWTH = 2.6
"""How much more than its peak a peer's heap grows to when nothing is given back: measured, 2.4 to 2.6."""


@dataclass(frozen=True)
class Room:
    """The memory there is for a contestant: ``limit`` bytes, and never more than the machine has.

    ``growth`` is by how much a heap grows beyond what is held at the peak.
    """

    limit: int
    growth: float = 1.0

    def holds(self, needs: int) -> bool:
        """Whether somebody whose peak is ``needs`` bytes has room."""
        return self.grown(needs) <= min(self.limit, available())

    def grown(self, needs: int) -> float:
        """Bytes of its heap at a peak of ``needs``; small ones are of no interest."""
        return needs * self.growth


def available() -> int:
    """Bytes that this process may hold without the machine running out; a lot where it does not tell."""
    if not Path("/proc/meminfo").exists():
        return 1 << 62
    free, held = _kilobytes("/proc/meminfo", "MemAvailable"), _kilobytes("/proc/self/status", "VmRSS")
    return 1024 * (free * 9 // 10 + held)


def touch(size: int) -> None:
    """Have ``size`` bytes in the heap already, so that a slow contestant's few calls find their pages."""
    with contextlib.suppress(RuntimeError):  # then they fail themselves, and say so
        torch.empty(size, dtype=torch.uint8).fill_(1)


def _kilobytes(file: str, name: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def confine(room: int) -> None:
    """Let this process take ``room`` bytes more than it holds, and no more, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        Path("/proc/self/oom_score_adj").write_text("1000")
        most = 1024 * _kilobytes("/proc/self/status", "VmData") + room
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def refusal(error: Exception) -> str:
    """In words, that there was no memory; any other error is raised again."""
    text = str(error)
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return "it needs more memory than it may use; see --limit"
    raise error
