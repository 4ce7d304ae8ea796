"""The same call on many items, in this process or in several."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch


class Workers:
    """Calls in this process, or in several new ones, each with one thread and its own judges."""

    def __init__(self, jobs: int) -> None:
        """``jobs`` processes; 1 stays in this one."""
        self._pool = None
        if jobs > 1:
            context = multiprocessing.get_context("spawn")  # forking a process that runs torch can hang
            self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each[A, B](self, call: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """``call`` on each item, results in order."""
        return list(self._pool.map(call, items) if self._pool else map(call, items))

    def any_order[A, B](self, call: Callable[[A], B], items: Sequence[A]) -> Iterable[tuple[int, B]]:
        """``call`` on each item: (place of the item, result) as they come."""
        if not self._pool:
            yield from ((place, call(item)) for place, item in enumerate(items))
            return
        places = {self._pool.submit(call, item): place for place, item in enumerate(items)}
        yield from ((places[done], done.result()) for done in as_completed(places))


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
