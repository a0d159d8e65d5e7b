"""SaverThread carries out saves in the background, one after the other; it owns those that are still to be made."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")

_NICENESS = 10


class SaverThread:
    """One thread, made for the first work and ended by `close`; the process does not exit before its work is done."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._unfinished: list[Future[Any]] = []

    def __reduce__(self) -> tuple[type["SaverThread"], tuple[()]]:
        # A copied or pickled callback has nothing to save yet: the work stays with the original.
        return SaverThread, ()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Takes work; returns at once."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="wandb_ckpt_save", initializer=_lower_priority)
        future = self._pool.submit(work)
        self._unfinished = [*self._pending(), future]
        return future

    def has_room(self) -> bool:
        """Returns whether nothing waits behind what is being worked on."""
        return len(self._pending()) <= 1

    def wait_for_room(self) -> None:
        """Waits until nothing waits behind what is being worked on."""
        wait(self._pending()[:-1])

    def flush(self) -> None:
        """Waits until all work is done."""
        wait(self._unfinished)

    def close(self) -> None:
        """Ends the thread when its work is done."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    def _pending(self) -> list[Future[Any]]:
        return [future for future in self._unfinished if not future.done()]


def _lower_priority() -> None:
    # On Linux niceness is a thread's own: training goes first wherever both want the same core.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
