"""Unhandled: what clients asked for that this server does not know. Tests look here."""

from __future__ import annotations

import threading
from dataclasses import dataclass

__all__ = ["Unhandled", "UnhandledRequest"]

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class UnhandledRequest:
    """One thing that the server did not know.

    Attributes:
        operation: The GraphQL operation's name, or method and path of another request.
        what: What exactly was unknown about it.
        variables: The names of the variables that came with it.
    """

    operation: str
    what: str
    variables: tuple[str, ...] = ()


class Unhandled:
    """The list of them, oldest first; the first thousand are kept."""

    def __init__(self) -> None:
        self._requests: list[UnhandledRequest] = []
        self._lock = threading.Lock()

    def add(self, request: UnhandledRequest) -> None:
        """Note one."""
        with self._lock:
            if len(self._requests) < _KEPT:
                self._requests.append(request)

    def all(self) -> tuple[UnhandledRequest, ...]:
        """All that were noted since the last `clear()`."""
        with self._lock:
            return tuple(self._requests)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._requests.clear()
