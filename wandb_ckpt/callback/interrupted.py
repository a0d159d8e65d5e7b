"""Notices the end of a training that an exception or Ctrl-C ends, which no hook of a callback is called for."""

import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, finalize


def when_left(let_go: Callable[[], None]) -> "finalize[[WeakMethod[Callable[[], None]]], Any] | None":
    """Calls a method when the training that now begins is left, however that comes about.

    `fit` holds the list of its callbacks in a local variable, so the list goes with the frame of `fit`: at once where
    the exception is handled, and otherwise once nobody has its traceback any more.

    Args:
        let_go: A method, called in whatever thread; its object is not kept alive.

    Returns:
        What `detach` is to be called on when the training ends in the usual way; `None` without such a list.
    """
    callbacks = _callback_list()
    if callbacks is None:
        return None
    left = finalize(callbacks, _call, WeakMethod(let_go))
    left.atexit = False
    return left


def _callback_list() -> Any:
    frame = sys._getframe(2)
    # A user's subclass, or a callback that passes its hooks on, may stand between.
    while frame is not None and frame.f_code.co_name == "on_train_begin":
        owner = frame.f_locals.get("self")
        if type(owner).__name__ == "CallbackList":
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _call(method: "WeakMethod[Callable[[], None]]") -> None:
    if (let_go := method()) is not None:
        let_go()
