"""BackgroundSaves makes saves while training goes on; SaverThread carries them out, one after the other."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol, TypeVar

from wandb_ckpt.saving.observer import Picture
from wandb_ckpt.threads import after_fork, carry_out

logger = logging.getLogger("wandb_ckpt")

T = TypeVar("T")


class CannotPictureError(Exception):
    """The model can't be saved in the background; says why."""


class Pictures(Protocol):
    """Takes the pictures of one model."""

    def take(self, method: str) -> Picture:
        """Returns a picture of the model as it is now, to be saved by a method, or raises `CannotPictureError`."""


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
            self.flush()  # what an earlier thread still has in hand
            # Of the same priority as training. With a lower one (niceness 5 and 10) whole fits on two busy cores took
            # longer, measured; what is put off while it holds the GIL puts training off.
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="wandb_ckpt_save")
        try:
            future = self._pool.submit(work)
        except RuntimeError:  # the system, or the end of the process, allows no more threads
            future = self._done_here(work)
        self._unfinished = [*self._pending(), future]
        return future

    def _done_here(self, work: Callable[[], T]) -> Future[T]:
        """Does work in this thread, after what was taken before it."""
        self.flush()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)  # what it could not start is among its work
            self._pool = None
        done: Future[T] = Future()
        carry_out(work, done)
        return done

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


class BackgroundSaves:
    """Owns, while a model is training, what takes pictures of it and the thread that saves them.

    Args:
        make_pictures: Prepares for pictures of the model; raises `CannotPictureError` where there can be none.
        warn: Says something once.
    """

    def __init__(self, make_pictures: Callable[[SaverThread], Pictures], warn: Callable[[str], None]) -> None:
        self._make_pictures = make_pictures
        self._warn = warn
        self._forget_all()
        after_fork(self._forget_all)

    def _forget_all(self) -> None:
        self._saver = SaverThread()
        self._pictures: Pictures | None = None
        self._is_prepared = False

    def __reduce__(self) -> tuple[type["BackgroundSaves"], tuple[Any, ...]]:
        # What is prepared and pending stays with the original.
        return BackgroundSaves, (self._make_pictures, self._warn)

    def prepare(self) -> None:
        """Begins to prepare, once; after the first step, which has built the optimizer."""
        if not self._is_prepared:
            self._is_prepared = True
            self._pictures = self._or_say_why_not(partial(self._make_pictures, self._saver))

    def take(self, method: str) -> Picture | None:
        """Returns a picture of the model, or `None` where it must be saved at once; older ones are saved by then.

        Args:
            method: The model's method that is to save it.
        """
        picture = self._picture(method)
        if picture is None:
            self._pictures = None
            self._saver.flush()  # what is older must not land on what is saved at once
        return picture

    def submit(self, work: Callable[[], None]) -> None:
        """Lets the thread do what saves a picture; it must not raise."""
        self._saver.submit(work)

    def flush(self) -> None:
        """Waits until all pictures are saved."""
        self._saver.flush()

    def let_go(self) -> None:
        """Frees the memory, and the thread once all pictures are saved; the next training is prepared for anew."""
        self._pictures, self._is_prepared = None, False
        self._saver.close()

    def _picture(self, method: str) -> Picture | None:
        if self._pictures is None:
            return None
        if not self._saver.has_room():
            self._warn(
                "Training waits for the disk, to which two checkpoints are still to be written: save less often."
            )
            self._saver.wait_for_room()
        return self._or_say_why_not(partial(self._pictures.take, method))

    def _or_say_why_not(self, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Exception as error:
            # A model's config is made by whatever code the user's classes have.
            logger.debug("No picture", exc_info=True)
            reason = str(error) or type(error).__name__
            self._warn(f"save_on_background has no effect, and saves hold training as usual: {reason}.")
            return None
