"""Turns: the order in which the callbacks of a process publish under one name of a run."""

import threading
from collections.abc import Hashable
from itertools import count

from wandb_ckpt.threads import after_fork


class Turns:
    """The numbers of all checkpoints of this process that are not handed over yet, by run and name."""

    def __init__(self) -> None:
        self.begin()
        after_fork(self.begin)

    def begin(self) -> None:
        """Begin with no numbers."""
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: dict[Hashable, set[int]] = {}

    def draw(self, place: Hashable) -> int:
        """Return a new number, after all others."""
        with self._lock:
            number = next(self._numbers)
            self._waiting.setdefault(place, set()).add(number)
            return number

    def line_up(self, place: Hashable, number: int) -> None:
        """Add a number again."""
        with self._lock:
            self._waiting.setdefault(place, set()).add(number)

    def leave(self, place: Hashable, number: int) -> None:
        """Remove a number, so that later ones can go on."""
        with self._lock:
            numbers = self._waiting.get(place, set())
            numbers.discard(number)
            if not numbers:
                self._waiting.pop(place, None)

    def ahead(self, place: Hashable, number: int) -> int:
        """Return how many numbers come before a number."""
        with self._lock:
            return sum(other < number for other in self._waiting.get(place, ()))


turns = Turns()
