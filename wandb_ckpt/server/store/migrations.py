"""The layout of the database file, and how a file of an older layout is brought up to date.

`PRAGMA user_version` is the number of migrations that a file has had. To change the layout, append a function to
`MIGRATIONS`. Each runs once, in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import resources

from wandb_ckpt.server.errors import DataFolderError

__all__ = ["MIGRATIONS", "migrate"]


def _create_tables(connection: sqlite3.Connection) -> None:
    # Not `executescript`, which would end the transaction.
    for statement in resources.files(__package__).joinpath("layout.sql").read_text("utf-8").split(";\n"):
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create_tables,)


def migrate(connection: sqlite3.Connection) -> None:
    """Run the migrations that the file has not had yet.

    Raises:
        DataFolderError: A newer version of this package wrote the file.
    """
    while (done := _layout(connection)) < len(MIGRATIONS):
        # The lock comes first: of two processes that start at the same time, one migrates and the other waits.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _layout(connection) == done:
                MIGRATIONS[done](connection)
                connection.execute(f"PRAGMA user_version = {done + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if done > len(MIGRATIONS):
        raise DataFolderError(
            f"The data folder has layout {done}. This version of wandb-ckpt reads layouts up to {len(MIGRATIONS)}. "
            "Upgrade wandb-ckpt, or choose another data folder."
        )


def _layout(connection: sqlite3.Connection) -> int:
    layout: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return layout
