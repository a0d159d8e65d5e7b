"""What happens at SIGTERM, with which schedulers announce that they take the machine away.

Python's own answer is to end the process at once. While training runs, what is pending is first published, for a
bounded time, and W&B is told; then the process ends as it would have. A handler of the user's keeps the say.

The one `Preemption` is owned by the interpreter's table of handlers; it knows the callbacks that are at work.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from wandb_ckpt import _artifact
from wandb_ckpt._threads import start

if TYPE_CHECKING:
    import wandb

# How long a process goes on after SIGTERM, in seconds; Kubernetes, Slurm and preemptible machines give 30 or more.
GRACE = 20.0
_TELLING = 2.0  # of these, to tell W&B


class Preemption:
    """The handler of SIGTERM while training runs.

    Args:
        previous: The disposition that it stands in front of: a handler of the user's, or Python's default.
    """

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self.watched: dict[WeakMethod[Callable[[], None]], wandb.Run] = {}
        self._masks: dict[int, set[Any]] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Does what is to be done while there is time, and then what would have been done at once."""
        if callable(self.previous):  # it may have little time, and to end the process may not be what it is for
            _join(self._tell, _TELLING)
            self.previous(number, frame)
        else:
            signal.signal(number, self.previous)  # a second signal ends the process at once
            _join(self._tell_and_publish, GRACE)
            os.kill(os.getpid(), number)

    def drop_dead(self) -> None:
        """Forgets callbacks that are gone, whose training ended without a word."""
        self.watched = {method: run for method, run in self.watched.items() if method() is not None}

    def hold(self) -> None:
        """Puts the signal off while this thread forks: CPython 3.11 drops one that comes to the child too early."""
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def release(self) -> None:
        """Takes back what `hold` did."""
        if (mask := self._masks.pop(threading.get_ident(), None)) is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _tell_and_publish(self) -> None:
        self._tell()
        for wind_up in filter(None, [method() for method in self.watched]):
            wind_up()

    def _tell(self) -> None:
        for run in {run.id: run for run in self.watched.values()}.values():
            _artifact.mark_preempting(run)


def watch(wind_up: Callable[[], None], run: "wandb.Run") -> None:
    """Lets SIGTERM wait for a callback, as far as that is for this thread to say and nobody ignores the signal.

    Args:
        wind_up: A method that publishes what is pending; its object is not kept alive.
        run: The run that is told.
    """
    current = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or current in (None, signal.SIG_IGN):
        return
    if not isinstance(current, Preemption):
        current = Preemption(current)
        signal.signal(signal.SIGTERM, current)
    current.drop_dead()
    current.watched[WeakMethod(wind_up)] = run


def forget(wind_up: Callable[[], None]) -> None:
    """Takes back what `watch` did; with the last callback, the handler goes."""
    current = signal.getsignal(signal.SIGTERM)
    if not isinstance(current, Preemption):
        return
    current.watched.pop(WeakMethod(wind_up), None)
    current.drop_dead()
    if not current.watched and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, current.previous)


def _join(work: Callable[[], None], seconds: float) -> None:
    # In a thread of its own: this one may have been interrupted while it held a lock of wandb's, or while it printed.
    if thread := start("wandb_ckpt_preempted", work):
        thread.join(seconds)


# A forked worker, which its parent ends by SIGTERM, has nothing to publish: it dies as without this handler.


def _before_fork() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        current.hold()


def _after_fork_in_parent() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        current.release()


def _after_fork_in_child() -> None:
    if isinstance(current := signal.getsignal(signal.SIGTERM), Preemption):
        signal.signal(signal.SIGTERM, current.previous)
        current.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
