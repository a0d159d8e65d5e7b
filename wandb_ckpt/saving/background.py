"""Save in the background: BackgroundSaves copies the model, and SaverThread saves the copies one after the other."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol, TypeVar

from wandb_ckpt.saving.save_observer import ModelCopy
from wandb_ckpt.threads import after_fork, run_into

logger = logging.getLogger("wandb_ckpt")

T = TypeVar("T")


class CannotCopyError(Exception):
    """The model can't be saved in the background. The message says why."""


class ModelCopier(Protocol):
    """Makes the copies of one model."""

    def copy(self, method: str) -> ModelCopy:
        """Return a copy of the model as it is now, to be saved with one of its methods.

        Raises:
            CannotCopyError: The model can't be copied.
        """


class SaverThread:
    """One thread that saves. It starts with the first work, and `close` ends it.

    The process does not exit before the work is done.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._unfinished: list[Future[Any]] = []

    def __reduce__(self) -> tuple[type["SaverThread"], tuple[()]]:
        # A copied or pickled callback has nothing to save yet: unfinished work stays with the original.
        return SaverThread, ()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Call `work` in the thread, after all earlier work. Return at once."""
        if self._pool is None:
            self.flush()  # unfinished work of an earlier thread
            # The thread has the same priority as training. With a lower one (niceness 5 and 10, measured) `fit` took
            # longer on two busy cores: if the thread is paused while it holds the GIL, training waits, too.
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="wandb_ckpt_save")
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # no thread can be started (system limit, end of the process)
            future = self._run_here(work)
        self._unfinished = [*self._pending(), future]
        return future

    def _run_here(self, work: Callable[[], T]) -> Future[T]:
        """Call `work` in the calling thread, after all earlier work."""
        self.flush()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)  # the pool still has the work that could not start
            self._pool = None
        done: Future[T] = Future()
        run_into(done, work)
        return done

    def has_room(self) -> bool:
        """Return whether no work waits for its turn."""
        return len(self._pending()) <= 1

    def wait_for_room(self) -> None:
        """Wait until no work waits for its turn."""
        wait(self._pending()[:-1])

    def flush(self) -> None:
        """Wait until all work is done."""
        wait(self._unfinished)

    def close(self) -> None:
        """End the thread after its work is done."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    def _pending(self) -> list[Future[Any]]:
        return [future for future in self._unfinished if not future.done()]


class BackgroundSaves:
    """Owns the copier of a model and the thread that saves the copies, while the model is trained.

    Args:
        make_copier: Returns the copier of the model; raises `CannotCopyError` if the model can't be copied.
        warn: Logs a warning, each message once.
    """

    def __init__(self, make_copier: Callable[[SaverThread], ModelCopier], warn: Callable[[str], None]) -> None:
        self._make_copier = make_copier
        self._warn = warn
        self._forget_all()
        after_fork(self._forget_all)

    def _forget_all(self) -> None:
        self._saver = SaverThread()
        self._copier: ModelCopier | None = None
        self._is_prepared = False

    def __reduce__(self) -> tuple[type["BackgroundSaves"], tuple[Any, ...]]:
        # A copied or pickled callback prepares again: pending saves stay with the original.
        return BackgroundSaves, (self._make_copier, self._warn)

    def prepare(self) -> None:
        """Start to prepare, once. To be called after the first training step, which builds the optimizer."""
        if not self._is_prepared:
            self._is_prepared = True
            self._copier = self._try_or_warn(partial(self._make_copier, self._saver))

    def copy(self, method: str) -> ModelCopy | None:
        """Return a copy of the model, or `None` if it must be saved at once; earlier copies are saved by then.

        Args:
            method: The model's method to save the copy with.
        """
        copy = self._copy(method)
        if copy is None:
            self._copier = None
            self._saver.flush()  # an older copy must not overwrite the file that is saved at once
        return copy

    def submit(self, work: Callable[[], None]) -> None:
        """Call `work`, which saves a copy, in the saver thread. It must not raise."""
        self._saver.submit(work)

    def flush(self) -> None:
        """Wait until all copies are saved."""
        self._saver.flush()

    def close(self) -> None:
        """Free the memory now, and end the thread after all copies are saved. The next training prepares again."""
        self._copier, self._is_prepared = None, False
        self._saver.close()

    def _copy(self, method: str) -> ModelCopy | None:
        if self._copier is None:
            return None
        if not self._saver.has_room():
            self._warn(
                "Training waits for the disk: two earlier checkpoints are not written yet. To avoid this, save less "
                "often."
            )
            self._saver.wait_for_room()
        return self._try_or_warn(partial(self._copier.copy, method))

    def _try_or_warn(self, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Exception as error:
            # The model's config comes from the user's classes, which may raise anything.
            logger.debug("The model can't be copied", exc_info=True)
            reason = str(error) or type(error).__name__
            self._warn(f"save_on_background has no effect, so training waits for each save: {reason}.")
            return None
