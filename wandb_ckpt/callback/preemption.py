"""What happens at SIGTERM, with which schedulers announce that they take the machine away.

Python's own answer is to end the process at once. While training runs, what is pending is first published, for a
bounded time, and W&B is told; then the process ends as it would have. A handler of the user's keeps the say.

The one `Preemption` is owned by the interpreter's table of handlers; it knows the callbacks that are at work.
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

# How long a process goes on after SIGTERM, in seconds; Kubernetes, Slurm and preemptible machines give 30 or more.
GRACE = 20.0
_TELLING = 2.0  # of these, to tell W&B
_PUT_OFF = 0.01  # seconds until a signal that came at a bad moment is sent again


@dataclass(frozen=True, slots=True)
class _Watched:
    """A callback at work, which isn't kept alive.

    Attributes:
        wind_up: Publishes what is pending.
        holds_lock: Returns whether this thread holds a lock that `wind_up`, in another one, needs.
        run: The run that is told.
    """

    wind_up: WeakMethod[Callable[[], None]]
    holds_lock: WeakMethod[Callable[[], bool]]
    run: "Run"


class Preemption:
    """The handler of SIGTERM while training runs.

    Args:
        previous: The disposition that it stands in front of: a handler of the user's, or Python's default.
    """

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self.watched: list[_Watched] = []
        self._masks: dict[int, set[Any]] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Does what is to be done while there is time, and then what would have been done at once."""
        if callable(self.previous):  # it may have little time, and to end the process may not be what it is for
            _join(self._tell, _TELLING)
            self.previous(number, frame)
        elif self._is_amid_change() and start("wandb_ckpt_put_off", partial(_send_again, number)):
            return  # what publishes would wait for this thread, and this thread for it
        else:
            signal.signal(number, self.previous)  # a second signal ends the process at once
            _join(self._tell_and_publish, GRACE)
            os.kill(os.getpid(), number)

    def _is_amid_change(self) -> bool:
        return any(holds() for holds in [each.holds_lock() for each in self.watched] if holds)

    def drop_dead(self) -> None:
        """Forgets callbacks that are gone, whose training ended without a word."""
        self.watched = [each for each in self.watched if each.wind_up() is not None]

    def hold(self) -> None:
        """Puts the signal off while this thread forks: CPython 3.11 drops one that comes to the child too early."""
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def release(self) -> None:
        """Takes back what `hold` did."""
        if (mask := self._masks.pop(threading.get_ident(), None)) is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _tell_and_publish(self) -> None:
        self._tell()
        for wind_up in filter(None, [each.wind_up() for each in self.watched]):
            wind_up()

    def _tell(self) -> None:
        for run in {each.run.id: each.run for each in self.watched}.values():
            mark_preempting(run)


def watch(wind_up: Callable[[], None], holds_lock: Callable[[], bool], run: "Run") -> None:
    """Lets SIGTERM wait for a callback, as far as that is for this thread to say and nobody ignores the signal.

    Args:
        wind_up: A method that publishes what is pending; its object is not kept alive.
        holds_lock: A method that returns whether the thread that calls it holds a lock that `wind_up` needs.
        run: The run that is told.
    """
    current = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or current in (None, signal.SIG_IGN):
        return
    if not isinstance(current, Preemption):
        current = Preemption(current)
        signal.signal(signal.SIGTERM, current)
    current.drop_dead()
    current.watched.append(_Watched(WeakMethod(wind_up), WeakMethod(holds_lock), run))


def forget(wind_up: Callable[[], None]) -> None:
    """Takes back what `watch` did; with the last callback, the handler goes."""
    current = signal.getsignal(signal.SIGTERM)
    if not isinstance(current, Preemption):
        return
    current.watched = [each for each in current.watched if each.wind_up != WeakMethod(wind_up)]
    current.drop_dead()
    if not current.watched and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, current.previous)


def _send_again(number: int) -> None:
    time.sleep(_PUT_OFF)
    os.kill(os.getpid(), number)


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
