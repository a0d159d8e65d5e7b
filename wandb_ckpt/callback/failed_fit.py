"""Detect that an exception or Ctrl-C ended `fit`: Keras calls no callback hook then."""

import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, finalize


def call_after_fit(clean_up: Callable[[], None]) -> "finalize[[WeakMethod[Callable[[], None]]], Any] | None":
    """Call a method when the current `fit` has ended, also if an exception or Ctrl-C ends it.

    `fit` holds the list of its callbacks in a local variable, so it is freed with the stack frame of `fit`. This
    is when the exception is handled, or when its traceback is freed.

    Args:
        clean_up: A method. It may be called in any thread. Its object is not kept alive.

    Returns:
        A finalizer: call its `detach` when training ends in the usual way. `None` if there is no list of callbacks.
    """
    callbacks = _callback_list()
    if callbacks is None:
        return None
    finalizer = finalize(callbacks, _call, WeakMethod(clean_up))
    finalizer.atexit = False
    return finalizer


def _callback_list() -> Any:
    frame = sys._getframe(2)
    # A user's subclass, or a callback that forwards its hooks, may be in between.
    while frame is not None and frame.f_code.co_name == "on_train_begin":
        owner = frame.f_locals.get("self")
        if type(owner).__name__ == "CallbackList":
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _call(method: "WeakMethod[Callable[[], None]]") -> None:
    if (clean_up := method()) is not None:
        clean_up()
