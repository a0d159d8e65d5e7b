"""Start threads where the system allows it, and make forks safe while threads run."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import TypeVar
from weakref import WeakMethod

logger = logging.getLogger("wandb_ckpt")

T = TypeVar("T")

# The names of all threads of this package begin with this.
_OURS = "wandb_ckpt"
# Seconds that a fork waits for imports in these threads. They take longer only if they wait for the forking thread.
_IMPORT_TIMEOUT = 10.0


def start(name: str, work: Callable[[], object], *, daemon: bool = True) -> threading.Thread | None:
    """Start a thread and return it; return `None` if no thread can be started (system limit, end of the process)."""
    thread = threading.Thread(target=work, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        logger.debug("The thread %s could not be started: %s", name, error)
        return None
    return thread


def run_into(future: Future[T], work: Callable[[], T]) -> None:
    """Call `work`, and set its result or its exception on a future."""
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - `future.result()` raises it again
        future.set_exception(error)


def is_held_here(lock: threading.Condition) -> bool:
    """Return whether the calling thread holds a lock."""
    try:
        lock.notify(0)
    except RuntimeError:  # documented: raised if the calling thread does not hold the lock
        return False
    return True


def after_fork(forget: Callable[[], None]) -> None:
    """Call a method in each child process that is forked from now on, if its object still exists.

    A child process has a copy of everything except the threads. Their unfinished work stays with the parent, and a
    lock that one of them held is never released in the child.
    """
    method = WeakMethod(forget)
    os.register_at_fork(after_in_child=lambda: _call(method))


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    if (forget := method()) is not None:
        forget()


def _wait_for_imports() -> None:
    """Wait, before a fork, until no thread of this package imports a module.

    Python locks a module while a thread imports it. In a child process that was forked meanwhile, this lock is never
    released, so code that needs the module hangs. wandb (0.31) imports many of its modules at first use, which is in
    the threads of this package.
    """
    deadline = time.monotonic() + _IMPORT_TIMEOUT
    while _is_importing() and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_importing() -> bool:
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    ours = {thread.ident for thread in others if thread.name.startswith(_OURS)}
    # No frame gets a name here: a frame that is kept alive keeps all its local variables alive.
    return any(_imports(frame) for ident, frame in sys._current_frames().items() if ident in ours)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


os.register_at_fork(before=_wait_for_imports)
