"""Lookup: finds a version by the names that people write, such as "model:best"."""

from __future__ import annotations

from wandb_ckpt.server.names import version_number
from wandb_ckpt.server.store import Database, collections
from wandb_ckpt.server.store.records import Membership

__all__ = ["find_in_collection", "find_membership"]


def find_membership(db: Database, project_id: int, name: str) -> Membership | None:
    """The version called "name", "name:alias" or "name:vN" in a project; without a suffix the latest."""
    base, _, alias = name.partition(":")
    collection = collections.named(db, project_id, base)
    return find_in_collection(db, collection.id, alias or "latest") if collection else None


def find_in_collection(db: Database, collection_id: int, alias: str) -> Membership | None:
    """The version of a collection by `vN` or alias; a number wins over an alias that looks like one."""
    number = version_number(alias)
    numbered = None if number is None else collections.membership_versioned(db, collection_id, number)
    return numbered or collections.membership_with_alias(db, collection_id, alias)
