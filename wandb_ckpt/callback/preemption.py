"""Handle SIGTERM, the signal of a scheduler that is about to take the machine away (preemption).

By default, Python ends the process at once. While training runs, this handler first marks the W&B run as preempting
and publishes the pending checkpoints, for a limited time. Then the process ends as usual. If the user's program has a
handler of its own, that handler still decides.

The interpreter's table of signal handlers owns the only `Preemption`, which knows the callbacks in use.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from wandb_ckpt.threads import start
from wandb_ckpt.wandb_api.run import mark_preempting

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

# Seconds to continue after SIGTERM. Kubernetes, Slurm and preemptible machines allow 30 or more.
GRACE = 20.0
_MARK_TIMEOUT = 2.0  # of these, seconds to mark the run as preempting
_RETRY_DELAY = 0.01  # seconds until a signal that came while a lock was held is sent again


@dataclass(frozen=True, slots=True)
class _Watched:
    """A callback in use. It is not kept alive.

    Attributes:
        publish_pending: Publishes the pending checkpoints.
        holds_lock: Returns whether the calling thread holds a lock that `publish_pending` needs in another thread.
        run: The run to mark as preempting.
    """

    publish_pending: WeakMethod[Callable[[], None]]
    holds_lock: WeakMethod[Callable[[], bool]]
    run: "Run"


class Preemption:
    """The handler of SIGTERM while training runs.

    Args:
        previous: The handler that was there before: the user's own, or Python's default.
    """

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self.watched: list[_Watched] = []
        self._masks: dict[int, set[Any]] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Mark the run as preempting and publish the pending checkpoints; then do what `previous` does."""
        if callable(self.previous):  # it may need the time for itself, and may not end the process
            _run_for(_MARK_TIMEOUT, self._mark_runs)
            self.previous(number, frame)
        elif self._is_lock_held() and start("wandb_ckpt_put_off", partial(_send_again, number)):
            return  # the publishing thread and this one would wait for each other
        else:
            signal.signal(number, self.previous)  # a second signal ends the process at once
            _run_for(GRACE, self._mark_and_publish)
            os.kill(os.getpid(), number)

    def _is_lock_held(self) -> bool:
        return any(holds_lock() for holds_lock in [each.holds_lock() for each in self.watched] if holds_lock)

    def drop_freed(self) -> None:
        """Drop callbacks that no longer exist: their training ended, and no hook was called."""
        self.watched = [each for each in self.watched if each.publish_pending() is not None]

    def block(self) -> None:
        """Block the signal while this thread forks: CPython 3.11 loses a signal that reaches the child too early."""
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def unblock(self) -> None:
        """Unblock the signal after the fork."""
        if (mask := self._masks.pop(threading.get_ident(), None)) is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _mark_and_publish(self) -> None:
        self._mark_runs()
        for publish_pending in filter(None, [each.publish_pending() for each in self.watched]):
            publish_pending()

    def _mark_runs(self) -> None:
        for run in {each.run.id: each.run for each in self.watched}.values():
            mark_preempting(run)


def register(publish_pending: Callable[[], None], holds_lock: Callable[[], bool], run: "Run") -> None:
    """Publish a callback's pending checkpoints at SIGTERM.

    Does nothing in a thread other than the main one, which alone can set handlers, or if the signal is ignored.

    Args:
        publish_pending: A method that publishes the pending checkpoints. Its object is not kept alive.
        holds_lock: A method that returns whether the calling thread holds a lock that `publish_pending` needs.
        run: The run to mark as preempting.
    """
    current = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or current in (None, signal.SIG_IGN):
        return
    if not isinstance(current, Preemption):
        current = Preemption(current)
        signal.signal(signal.SIGTERM, current)
    current.drop_freed()
    current.watched.append(_Watched(WeakMethod(publish_pending), WeakMethod(holds_lock), run))


def unregister(publish_pending: Callable[[], None]) -> None:
    """Remove a callback that was registered. With the last one, the previous handler comes back."""
    current = signal.getsignal(signal.SIGTERM)
    if not isinstance(current, Preemption):
        return
    current.watched = [each for each in current.watched if each.publish_pending != WeakMethod(publish_pending)]
    current.drop_freed()
    if not current.watched and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, current.previous)


def _send_again(number: int) -> None:
    time.sleep(_RETRY_DELAY)
    os.kill(os.getpid(), number)


def _run_for(seconds: float, work: Callable[[], None]) -> None:
    # In another thread: the signal may have interrupted this one while it held a lock of wandb, or while it printed.
    if thread := start("wandb_ckpt_preempted", work):
        thread.join(seconds)


# A forked worker that its parent ends by SIGTERM has nothing to publish, so it ends as it would without this handler.


def _before_fork() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        current.block()


def _after_fork_in_parent() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        current.unblock()


def _after_fork_in_child() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        signal.signal(signal.SIGTERM, current.previous)
        current.unblock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
