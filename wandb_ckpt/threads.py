"""Threads that can't always be started, and what a forked child is to forget of those of its parent."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakMethod

logger = logging.getLogger("wandb_ckpt")

T = TypeVar("T")


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
