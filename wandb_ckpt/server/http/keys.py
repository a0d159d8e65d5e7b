"""Accounts: who may enter. API keys are kept as digests; a new key is seen once, when it is made."""

from __future__ import annotations

import hashlib
import re
import secrets

from wandb_ckpt.server.store import Database, accounts
from wandb_ckpt.server.store.records import User

__all__ = ["DEFAULT_USER", "Accounts"]

DEFAULT_USER = "local"
_FOR_A_PERSON = "made on the first start"
# What the client itself lets pass: an optional prefix with a dash, then 40 or more of these.
_KEY = re.compile(r"[\w-]{40,255}", re.ASCII)
_SHOWN = 8  # characters of a key: enough to tell keys apart, with 224 bits left to guess


class Accounts:
    """Finds the user that an API key belongs to.

    Args:
        db: Where users and the digests of their keys are.
        any_key: Let any well-formed key in, as a user whose name is the key itself. For tests only.
    """

    def __init__(self, db: Database, *, any_key: bool = False) -> None:
        self._db = db
        self._any_key = any_key

    def user_of(self, key: str) -> User | None:
        """The user that the key belongs to, or None."""
        if not _KEY.fullmatch(key):
            return None
        if known := accounts.user_of_key(self._db, _digest(key)):
            return known
        return self._newcomer(key) if self._any_key else None

    def _newcomer(self, key: str) -> User:
        with self._db.atomic():
            user = accounts.get_or_create_user(self._db, key)
            if not accounts.user_of_key(self._db, _digest(key)):  # unless another request of this client was first
                self._keep(user, key, None)
            return user

    def first_key(self) -> str | None:
        """The key for a person to keep, made on the first call over a data folder; None ever after.

        Keys that programs made for themselves do not count: whoever looks at their data later needs one too.
        """
        if accounts.has_key(self._db, _FOR_A_PERSON):
            return None
        return self.create_key(_FOR_A_PERSON)

    def create_key(self, description: str, user_name: str = DEFAULT_USER) -> str:
        """A fresh key for the user, who is made on demand. It can't be read back later."""
        with self._db.atomic(durable=True):
            return self.add_key(accounts.get_or_create_user(self._db, user_name), description)[1]

    def add_key(self, user: User, description: str | None) -> tuple[int, str]:
        """A fresh key for a user: the id of its row, and the key, which can't be read back later."""
        key = secrets.token_hex(32)
        return self._keep(user, key, description), key

    def _keep(self, user: User, key: str, description: str | None) -> int:
        return accounts.add_key(self._db, user.id, key[:_SHOWN], _digest(key), description)


def _digest(key: str) -> str:
    # Keys are 256 random bits: a slow password hash would add nothing, and this runs on every request.
    return hashlib.sha256(key.encode()).hexdigest()
