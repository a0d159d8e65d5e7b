"""Users and their API keys."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import ApiKey, User, now

__all__ = ["add_key", "get_or_create_user", "has_key", "keys", "remove_key", "user", "user_of_key"]


def get_or_create_user(db: Database, name: str) -> User:
    """Return the user with a name. Create it if need be."""
    with db.atomic():
        if known := db.first(User, "SELECT * FROM users WHERE name = ?", name):
            return known
        return db.insert(User, "INSERT INTO users (name, created_at) VALUES (?, ?) RETURNING *", name, now())


def user(db: Database, user_id: int) -> User | None:
    """Return the user (and entity) with an id."""
    return db.first(User, "SELECT * FROM users WHERE id = ?", user_id)


def user_of_key(db: Database, digest: str) -> User | None:
    """Return the user whose API key has this digest."""
    sql = "SELECT users.* FROM users JOIN api_keys ON api_keys.user_id = users.id WHERE api_keys.digest = ?"
    return db.first(User, sql, digest)


def has_key(db: Database, description: str) -> bool:
    """Return whether there is a key with this description."""
    return db.value("SELECT 1 FROM api_keys WHERE description = ? LIMIT 1", description) is not None


def keys(db: Database, user_id: int) -> list[ApiKey]:
    """Return the keys of a user, oldest first."""
    return db.all(ApiKey, "SELECT * FROM api_keys WHERE user_id = ? ORDER BY id", user_id)


def add_key(db: Database, user_id: int, name: str, digest: str, description: str | None) -> ApiKey:
    """Add an API key, given by its digest."""
    sql = "INSERT INTO api_keys (user_id, name, digest, description, created_at) VALUES (?, ?, ?, ?, ?) RETURNING *"
    return db.insert(ApiKey, sql, user_id, name, digest, description, now())


def remove_key(db: Database, user_id: int, key_id: int) -> bool:
    """Remove an API key. Return False if the user has no such key."""
    with db.atomic(durable=True):
        return db.run("DELETE FROM api_keys WHERE id = ? AND user_id = ?", key_id, user_id) > 0
