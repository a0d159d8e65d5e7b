"""Sets aliases on versions, and keeps the alias `vN` for version N."""

from __future__ import annotations

from collections.abc import Iterable

from wandb_ckpt.server.errors import ConflictError
from wandb_ckpt.server.names import version_number
from wandb_ckpt.server.store import Database, artifacts, collections
from wandb_ckpt.server.store.records import Collection, Membership

__all__ = ["check_free", "make_latest", "names_another", "put"]


def check_free(collection: Collection, aliases: Iterable[str]) -> None:
    """Check the aliases of a version that is not committed yet.

    Raises:
        ConflictError: An alias is the number of a version of the collection.
    """
    for alias in aliases:
        if _is_used_number(collection, alias):
            raise _conflict(collection, alias)


def names_another(db: Database, place: Membership, alias: str) -> bool:
    """Return whether the alias is or was the number of another version. Numbers are never used twice."""
    return version_number(alias) != place.version_index and _is_used_number(_collection(db, place), alias)


def put(db: Database, place: Membership, alias: str) -> None:
    """Set an alias on a version. The alias may be a future number: it is removed when that version comes.

    Raises:
        ConflictError: The alias is the number of another version.
    """
    if names_another(db, place, alias):
        raise _conflict(_collection(db, place), alias)
    if version_number(alias) != place.version_index:
        collections.move_alias(db, place, alias)


def make_latest(db: Database, place: Membership, aliases: Iterable[str]) -> None:
    """Set "latest" and other aliases on a version. An alias is on one version of a collection only."""
    for alias in dict.fromkeys(["latest", *aliases]):
        put(db, place, alias)
    artifacts.touch(db, place.artifact_id)
    collections.touch(db, place.collection_id)


def _collection(db: Database, place: Membership) -> Collection:
    found = collections.collection(db, place.collection_id)
    assert found is not None
    return found


def _is_used_number(collection: Collection, alias: str) -> bool:
    number = version_number(alias)
    return number is not None and number < collection.next_version


def _conflict(collection: Collection, alias: str) -> ConflictError:
    return ConflictError(
        f"Invalid alias {alias!r}: it is the number of another version of {collection.name!r}. Choose another alias."
    )
