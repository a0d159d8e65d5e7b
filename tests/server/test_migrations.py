"""The layout of the database file: how an older file is brought up to date, and a newer one refused."""

import sqlite3
from pathlib import Path

import pytest

from wandb_ckpt.server import DataFolderError
from wandb_ckpt.server.store import Database, accounts, migrations


def add_nickname(connection: sqlite3.Connection) -> None:
    """A second layout."""
    connection.execute("ALTER TABLE users ADD COLUMN nickname TEXT NOT NULL DEFAULT 'none'")


def fail(connection: sqlite3.Connection) -> None:
    """A migration that stops half-way."""
    add_nickname(connection)
    raise OSError("the disk is full")


def test_a_file_of_an_older_layout_is_migrated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay, a migration runs once and completely or not at all, and an older server refuses the newer file."""
    path = tmp_path / "server.db"
    first = migrations.MIGRATIONS
    database = Database(path)
    accounts.get_or_create_user(database, "me")
    assert database.value("PRAGMA user_version") == 1
    database.close()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*first, fail))
    with pytest.raises(OSError, match="disk is full"):
        Database(path)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*first, add_nickname))
    for _ in range(2):
        database = Database(path)
        assert database.value("PRAGMA user_version") == 2
        assert [tuple(row) for row in database.rows("SELECT name, nickname FROM users")] == [("me", "none")]
        database.close()
    monkeypatch.setattr(migrations, "MIGRATIONS", first)
    with pytest.raises(DataFolderError, match=r"has layout 2\. This version of wandb-ckpt reads layouts up to 1"):
        Database(path)
