"""Users and their API keys."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import ApiKey, User, now, optional, record

__all__ = [
    "add_key",
    "get_or_create_user",
    "has_key",
    "keys",
    "remove_key",
    "user",
    "user_named",
    "user_of_key",
    "users_like",
]


def has_key(db: Database, description: str) -> bool:
    """Whether there is a key with that description."""
    return db.value("SELECT 1 FROM api_keys WHERE description = ? LIMIT 1", description) is not None


def get_or_create_user(db: Database, name: str) -> User:
    """The user of that name, made on demand."""
    with db.atomic():
        db.run("INSERT OR IGNORE INTO users (name, created_at) VALUES (?, ?)", name, now())
        found = user_named(db, name)
    assert found is not None
    return found


def user(db: Database, user_id: int) -> User | None:
    """The user (and entity) with that id."""
    row = db.row("SELECT * FROM users WHERE id = ?", user_id)
    return optional(User, row)


def user_named(db: Database, name: str) -> User | None:
    """The user (and entity) of that name."""
    row = db.row("SELECT * FROM users WHERE name = ?", name)
    return optional(User, row)


def users_like(db: Database, part: str) -> list[User]:
    """Users whose name contains the text."""
    return [record(User, row) for row in db.rows("SELECT * FROM users WHERE instr(name, ?) > 0", part)]


def add_key(db: Database, user_id: int, name: str, digest: str, description: str | None) -> int:
    """Let a key in, given as its digest, under a name. Returns the id of its row."""
    with db.atomic():
        return db.insert(
            "INSERT INTO api_keys (user_id, name, digest, description, created_at) VALUES (?, ?, ?, ?, ?)",
            user_id,
            name,
            digest,
            description,
            now(),
        )


def remove_key(db: Database, user_id: int, key_id: int) -> bool:
    """Let a key in no more. False if the user has no such key."""
    with db.atomic(durable=True):
        return db.run("DELETE FROM api_keys WHERE id = ? AND user_id = ?", key_id, user_id) > 0


def user_of_key(db: Database, digest: str) -> User | None:
    """Whose key it is, given its digest."""
    row = db.row(
        "SELECT users.* FROM users JOIN api_keys ON api_keys.user_id = users.id WHERE api_keys.digest = ?",
        digest,
    )
    return optional(User, row)


def keys(db: Database, user_id: int) -> list[ApiKey]:
    """The keys of one user, oldest first."""
    return [record(ApiKey, row) for row in db.rows("SELECT * FROM api_keys WHERE user_id = ? ORDER BY id", user_id)]
