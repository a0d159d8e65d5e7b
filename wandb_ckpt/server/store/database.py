"""Database: the connections to one SQLite file, and its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb_ckpt.server.store.migrations import migrate

__all__ = ["Database", "Value"]

Value = str | int | float | bytes | None
_BUSY_SECONDS = 30.0


class _Held:
    """One thread's connection. Closes itself with its thread (Python 3.13 warns of those left open)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.depth = 0

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """Gives every thread its own connection to the SQLite file at `path`, in WAL mode.

    Reads never wait. Writes go through `atomic()`, one at a time within the process; other processes (a
    sweep from the command line) are waited for by SQLite's own lock.
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
        """All rows of one query."""
        return self._held().connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Value) -> sqlite3.Row | None:
        """The first row of one query, if there is one."""
        row: sqlite3.Row | None = self._held().connection.execute(sql, values).fetchone()
        return row

    def value(self, sql: str, *values: Value) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, *values)
        return None if row is None else row[0]

    def run(self, sql: str, *values: Value) -> int:
        """Write; only inside `atomic()`. Returns the number of rows changed."""
        return self._writer().execute(sql, values).rowcount

    def insert(self, sql: str, *values: Value) -> int:
        """Write one new row; only inside `atomic()`. Returns its id."""
        rowid = self._writer().execute(sql, values).lastrowid
        assert rowid is not None
        return rowid

    def run_many(self, sql: str, values: Iterable[tuple[Value, ...]]) -> None:
        """Write many rows; only inside `atomic()`."""
        self._writer().executemany(sql, values)

    def _writer(self) -> sqlite3.Connection:
        held = self._held()
        if not held.depth:
            raise RuntimeError("write outside a transaction: use `with database.atomic():`")
        return held.connection

    @contextlib.contextmanager
    def atomic(self, *, durable: bool = False) -> Iterator[None]:
        """One write transaction; nested calls join it. All of it is kept, or with an error nothing.

        Args:
            durable: Wait until the disk has it, so that even a power cut loses nothing. Without it a
                power cut may take back the last moments (never a part of a transaction); the death of
                this process takes back nothing in either case.
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
        """Close every thread's connection."""
        for held in list(self._all):
            held.connection.close()
        self._local = threading.local()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
