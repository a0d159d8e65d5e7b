"""Turns say whose checkpoint is next: one run and name has one order in a process, whatever callbacks save there."""

import threading
from collections.abc import Hashable
from itertools import count

from wandb_ckpt.threads import after_fork


class Turns:
    """Owns the numbers of all checkpoints of this process that are still to be handed over, by run and name."""

    def __init__(self) -> None:
        self.begin()
        after_fork(self.begin)

    def begin(self) -> None:
        """Begin with no numbers."""
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: dict[Hashable, set[int]] = {}

    def draw(self, place: Hashable) -> int:
        """Return a new number, behind all others, and line up with it."""
        with self._lock:
            number = next(self._numbers)
            self._waiting.setdefault(place, set()).add(number)
            return number

    def line_up(self, place: Hashable, number: int) -> None:
        """Take a number's turn once more."""
        with self._lock:
            self._waiting.setdefault(place, set()).add(number)

    def leave(self, place: Hashable, number: int) -> None:
        """Let those behind a number go on."""
        with self._lock:
            numbers = self._waiting.get(place, set())
            numbers.discard(number)
            if not numbers:
                self._waiting.pop(place, None)

    def ahead(self, place: Hashable, number: int) -> int:
        """Return how many are before a number."""
        with self._lock:
            return sum(other < number for other in self._waiting.get(place, ()))


turns = Turns()
