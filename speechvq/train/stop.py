"""When to leave before the last step: a signal, or the time that was given. All processes leave together."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning_fabric import Fabric


class Stop:
    """Inside ``with``, SIGINT and SIGTERM ask for an orderly end; a second SIGINT ends at once."""

    def __init__(self, max_minutes: float | None = None) -> None:
        """``max_minutes`` from now on; None for as long as it takes."""
        self.ends = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self.signal = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # elsewhere signals are not ours to take
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def due(self, fabric: Fabric) -> bool:
        """Whether any process was asked to stop or has run out of time."""
        own = bool(self.reason)
        if fabric.world_size == 1:
            return own
        flag = torch.tensor(float(own), device=fabric.device)
        return bool(fabric.all_reduce(flag, reduce_op="sum") > 0)  # pyright: ignore[reportOperatorIssue]

    @property
    def reason(self) -> str:
        """Why, in words; empty while there is no reason."""
        if self.signal:
            return f"{self.signal} was received"
        if self.ends is not None and time.monotonic() >= self.ends:
            return "the time given by runtime.max_minutes is over"
        return ""

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
