"""API keys. Only their digests are stored, so a key can be seen only when it is created."""

from __future__ import annotations

import hashlib
import re
import secrets

from wandb_ckpt.server.store import Database, accounts
from wandb_ckpt.server.store.records import ApiKey, User

__all__ = ["DEFAULT_USER", "ApiKeys"]

DEFAULT_USER = "local"
_FIRST_START = "made on the first start"
# The client accepts an optional prefix with a dash, then 40 or more of these characters.
_KEY = re.compile(r"[\w-]{40,255}", re.ASCII)
_SHOWN = 8  # characters: enough to tell keys apart, and 224 bits are left to guess


class ApiKeys:
    """The API keys of all users.

    Args:
        db: The rows.
        any_key: Accept any well-formed key, as a user whose name is the key. For tests only.
    """

    def __init__(self, db: Database, *, any_key: bool = False) -> None:
        self._db = db
        self._any_key = any_key

    def user_of(self, key: str) -> User | None:
        """Return the user that a key belongs to."""
        if not _KEY.fullmatch(key):
            return None
        if known := accounts.user_of_key(self._db, _digest(key)):
            return known
        return self._new_user(key) if self._any_key else None

    def _new_user(self, key: str) -> User:
        with self._db.atomic():
            user = accounts.get_or_create_user(self._db, key)
            if not accounts.user_of_key(self._db, _digest(key)):  # another request may have been first
                self._store(user, key, None)
            return user

    def first(self) -> str | None:
        """Return a key for a person, on the first call for a data folder. Later calls return None.

        Keys that programs created for themselves do not count: a person needs a key to look at their data.
        """
        return None if accounts.has_key(self._db, _FIRST_START) else self.create(_FIRST_START)

    def create(self, description: str, user_name: str = DEFAULT_USER) -> str:
        """Return a new key of a user. Create the user if need be."""
        with self._db.atomic(durable=True):
            return self.add(accounts.get_or_create_user(self._db, user_name), description)[1]

    def add(self, user: User, description: str | None) -> tuple[ApiKey, str]:
        """Create a key of a user. Return its row and the key."""
        key = secrets.token_hex(32)
        return self._store(user, key, description), key

    def _store(self, user: User, key: str, description: str | None) -> ApiKey:
        return accounts.add_key(self._db, user.id, key[:_SHOWN], _digest(key), description)


def _digest(key: str) -> str:
    # A key has 256 random bits. A slow password hash adds nothing, and this runs in every request.
    return hashlib.sha256(key.encode()).hexdigest()
