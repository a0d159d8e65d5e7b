"""Threads that can't always be started, and what a forked child is to forget of those of its parent."""

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

# Each of our threads has a name that begins so.
_OURS = "wandb_ckpt"
# How long a fork waits for what they import, in seconds: that takes a moment, unless it waits for the forking thread.
_IMPORT_PATIENCE = 10.0


def start(name: str, work: Callable[[], object], *, daemon: bool = True) -> threading.Thread | None:
    """Starts a thread and returns it; `None` where the system, or the end of the process, allows no more."""
    thread = threading.Thread(target=work, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        logger.debug("The thread %s could not be started: %s", name, error)
        return None
    return thread


def carry_out(work: Callable[[], T], future: Future[T]) -> None:
    """Does work, and gives what comes of it to a future."""
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - it is raised again where the result is asked for
        future.set_exception(error)


def holds(lock: threading.Condition) -> bool:
    """Returns whether this thread holds a lock."""
    try:
        lock.notify(0)
    except RuntimeError:  # so says its documentation
        return False
    return True


def after_fork(forget: Callable[[], None]) -> None:
    """Calls a method in each child that is forked from now on, if its object still lives.

    A child has a copy of everything but the threads: what they had in hand is the parent's to finish, and a lock that
    one of them held is never released.
    """
    method = WeakMethod(forget)
    os.register_at_fork(after_in_child=lambda: _call(method))


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    if (forget := method()) is not None:
        forget()


def _let_imports_end() -> None:
    """Waits, before a fork, until no thread of ours imports anything.

    Python's lock of a module that another thread is importing is never released in a child: whatever needs the module
    there hangs. wandb (0.31) imports much of itself only when it is first asked, which is what our threads do.
    """
    deadline = time.monotonic() + _IMPORT_PATIENCE
    while _is_importing() and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_importing() -> bool:
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    ours = {thread.ident for thread in others if thread.name.startswith(_OURS)}
    # Given no name here, for a frame that is kept would keep all that its functions have in hand.
    return any(_imports(frame) for ident, frame in sys._current_frames().items() if ident in ours)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


os.register_at_fork(before=_let_imports_end)
