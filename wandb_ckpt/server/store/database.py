"""The connections to one SQLite file, and its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from wandb_ckpt.server.store.migrations import migrate
from wandb_ckpt.server.store.records import record

__all__ = ["Database", "Value"]

Value = str | int | float | bytes | None
_BUSY_SECONDS = 30.0
_Record = TypeVar("_Record")


class _Held:
    """The connection of one thread. It is closed when the thread ends: Python 3.13 warns of connections left open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.depth = 0

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """An SQLite file in WAL mode, with one connection for each thread.

    Reads never wait. Writes happen in transactions, one at a time: threads wait for each other here, processes (such
    as a sweep from the command line) by SQLite's own lock. A write outside `atomic()` is a transaction of its own.

    Args:
        path: The file. It is created or migrated if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._all: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._writing = threading.RLock()
        migrate(self._held().connection)

    def _held(self) -> _Held:
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = _Held(_connect(self._path))
            self._all.add(held)
        return held

    def rows(self, sql: str, *values: Value) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._held().connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Value) -> Any:
        """Return the first column of the first row, or None if there is no row."""
        row = self._held().connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def all(self, kind: type[_Record], sql: str, *values: Value) -> list[_Record]:
        """Return all rows of a query as records of one kind."""
        return [record(kind, row) for row in self.rows(sql, *values)]

    def first(self, kind: type[_Record], sql: str, *values: Value) -> _Record | None:
        """Return the first row of a query as a record, or None if there is no row."""
        row = self._held().connection.execute(sql, values).fetchone()
        return None if row is None else record(kind, row)

    def insert(self, kind: type[_Record], sql: str, *values: Value) -> _Record:
        """Write a row with `INSERT … RETURNING *` and return it as a record."""
        with self.atomic():
            return self.all(kind, sql, *values)[0]

    def run(self, sql: str, *values: Value) -> int:
        """Write, and return the number of changed rows."""
        with self.atomic():
            return self._held().connection.execute(sql, values).rowcount

    def run_many(self, sql: str, values: Iterable[tuple[Value, ...]]) -> None:
        """Run one writing statement for each tuple of values."""
        with self.atomic():
            self._held().connection.executemany(sql, values)

    @contextlib.contextmanager
    def atomic(self, *, durable: bool = False) -> Iterator[None]:
        """Run the block in one write transaction. An error undoes all of it. Nested blocks join the outer one.

        Args:
            durable: Wait until the data is on disk. Without it, a power cut may undo the last transactions, but
                never a part of one. The end of this process undoes nothing in either case.
        """
        with self._writing:
            held = self._held()
            if held.depth:
                yield
                return
            held.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            held.connection.execute("BEGIN IMMEDIATE")
            held.depth = 1
            try:
                yield
                held.connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself; a second ROLLBACK would mask that error.
                if held.connection.in_transaction:
                    held.connection.execute("ROLLBACK")
                raise
            finally:
                held.depth = 0

    def close(self) -> None:
        """Close the connections of all threads."""
        for held in list(self._all):
            held.connection.close()
        self._local = threading.local()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
