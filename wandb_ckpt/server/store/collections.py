"""Collections (sequences and portfolios), the memberships of versions in them, aliases and tags."""

# ruff: noqa: S608 (only words of our own are put into SQL)
from __future__ import annotations

from collections.abc import Iterable

from wandb_ckpt.server.names import version_number
from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Alias, Collection, Membership, Tag, now

__all__ = [
    "NAMED",
    "add_membership",
    "add_tags",
    "aliases",
    "aliases_of_artifact",
    "change_type",
    "collection",
    "count_in_project",
    "count_memberships",
    "create",
    "delete",
    "in_project",
    "latest_membership",
    "membership_named",
    "membership_of",
    "memberships",
    "memberships_of_artifact",
    "move_alias",
    "named",
    "remove_alias",
    "remove_membership",
    "remove_tags",
    "tags",
    "touch",
    "update",
]


def collection(db: Database, collection_id: int) -> Collection | None:
    """Return the collection with an id."""
    return db.first(Collection, "SELECT * FROM collections WHERE id = ?", collection_id)


def named(db: Database, project_id: int, name: str) -> Collection | None:
    """Return the collection of a project by name."""
    sql = "SELECT * FROM collections WHERE project_id = ? AND name = ? AND state = 'READY'"
    return db.first(Collection, sql, project_id, name)


def in_project(db: Database, project_id: int) -> list[Collection]:
    """Return the collections of a project, oldest first."""
    sql = "SELECT * FROM collections WHERE project_id = ? AND state = 'READY' ORDER BY id"
    return db.all(Collection, sql, project_id)


def count_in_project(db: Database, project_id: int) -> int:
    """Return how many collections a project has."""
    count: int = db.value("SELECT count(*) FROM collections WHERE project_id = ? AND state = 'READY'", project_id)
    return count


def create(db: Database, project_id: int, type_id: int, kind: str, name: str) -> Collection:
    """Create an empty collection. Its name must be free."""
    sql = (
        "INSERT INTO collections (project_id, type_id, kind, name, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?) RETURNING *"
    )
    return db.insert(Collection, sql, project_id, type_id, kind, name, now(), now())


def update(db: Database, collection_id: int, *, name: str | None, description: str | None) -> None:
    """Change the values that are not None."""
    sql = (
        "UPDATE collections SET name = coalesce(?, name), description = coalesce(?, description), updated_at = ? "
        "WHERE id = ?"
    )
    db.run(sql, name, description, now(), collection_id)


def change_type(db: Database, collection_id: int, type_id: int) -> None:
    """Set the artifact type of a collection."""
    db.run("UPDATE collections SET type_id = ?, updated_at = ? WHERE id = ?", type_id, now(), collection_id)


def touch(db: Database, collection_id: int) -> None:
    """Set the time of the last change to now."""
    db.run("UPDATE collections SET updated_at = ? WHERE id = ?", now(), collection_id)


def delete(db: Database, collection_id: int) -> None:
    """Delete a collection with its memberships. The row stays until a sweep, but the name is free."""
    with db.atomic():
        db.run("DELETE FROM memberships WHERE collection_id = ?", collection_id)
        db.run("DELETE FROM collection_tags WHERE collection_id = ?", collection_id)
        db.run("UPDATE collections SET state = 'DELETED', updated_at = ? WHERE id = ?", now(), collection_id)


# Memberships


def membership_of(db: Database, collection_id: int, artifact_id: int) -> Membership | None:
    """Return the membership of a version in a collection."""
    sql = "SELECT * FROM memberships WHERE collection_id = ? AND artifact_id = ?"
    return db.first(Membership, sql, collection_id, artifact_id)


def membership_named(db: Database, collection_id: int, name: str) -> Membership | None:
    """Return the membership of a version by `vN` or alias. The number of a version wins over an alias."""
    sql = f"SELECT m.* FROM memberships m WHERE {NAMED}"
    return db.first(Membership, sql, collection_id, version_number(name), collection_id, name)


NAMED = """
    m.id = coalesce(
        (SELECT id FROM memberships WHERE collection_id = ? AND version_index = ?),
        (SELECT membership_id FROM aliases WHERE collection_id = ? AND alias = ?))
"""


def latest_membership(db: Database, collection_id: int) -> Membership | None:
    """Return the membership of the version with the highest number."""
    return next(iter(memberships(db, collection_id, limit=1)), None)


def memberships(
    db: Database, collection_id: int, *, newest_first: bool = True, limit: int = -1, offset: int = 0
) -> list[Membership]:
    """Return the memberships of a collection, ordered by version number."""
    direction = "DESC" if newest_first else "ASC"
    sql = f"SELECT * FROM memberships WHERE collection_id = ? ORDER BY version_index {direction} LIMIT ? OFFSET ?"
    return db.all(Membership, sql, collection_id, limit, offset)


def count_memberships(db: Database, collection_id: int) -> int:
    """Return how many versions a collection has."""
    count: int = db.value("SELECT count(*) FROM memberships WHERE collection_id = ?", collection_id)
    return count


def memberships_of_artifact(db: Database, artifact_id: int) -> list[Membership]:
    """Return all memberships of a version, that in its own sequence first."""
    return db.all(Membership, "SELECT * FROM memberships WHERE artifact_id = ? ORDER BY id", artifact_id)


def add_membership(db: Database, collection_id: int, artifact_id: int) -> Membership:
    """Return the membership of a version in a collection. A new one gets the next number.

    A number is never used twice. An alias that equals the new number is removed: it is the version's name now.
    """
    with db.atomic():
        if known := membership_of(db, collection_id, artifact_id):
            return known
        number = db.value("SELECT next_version FROM collections WHERE id = ?", collection_id)
        sql = "UPDATE collections SET next_version = ?, updated_at = ? WHERE id = ?"
        db.run(sql, number + 1, now(), collection_id)
        db.run("DELETE FROM aliases WHERE collection_id = ? AND alias = ?", collection_id, f"v{number}")
        sql = (
            "INSERT INTO memberships (collection_id, artifact_id, version_index, created_at) VALUES (?, ?, ?, ?) "
            "RETURNING *"
        )
        return db.insert(Membership, sql, collection_id, artifact_id, number, now())


def remove_membership(db: Database, membership_id: int) -> None:
    """Remove a version from a collection, with its aliases there."""
    db.run("DELETE FROM memberships WHERE id = ?", membership_id)


# Aliases


def aliases(db: Database, collection_id: int) -> list[Alias]:
    """Return all aliases of a collection."""
    return db.all(Alias, "SELECT * FROM aliases WHERE collection_id = ? ORDER BY id", collection_id)


def aliases_of_artifact(db: Database, artifact_id: int) -> list[Alias]:
    """Return the aliases of a version in all its collections."""
    sql = (
        "SELECT a.* FROM aliases a JOIN memberships m ON m.id = a.membership_id WHERE m.artifact_id = ? ORDER BY a.id"
    )
    return db.all(Alias, sql, artifact_id)


def move_alias(db: Database, place: Membership, alias: str) -> None:
    """Set an alias on a version. The version that had it loses it."""
    sql = (
        "INSERT INTO aliases (collection_id, membership_id, alias) VALUES (?, ?, ?) "
        "ON CONFLICT (collection_id, alias) DO UPDATE SET membership_id = excluded.membership_id"
    )
    db.run(sql, place.collection_id, place.id, alias)


def remove_alias(db: Database, place: Membership, alias: str) -> None:
    """Remove an alias from a version, if the version has it."""
    db.run("DELETE FROM aliases WHERE membership_id = ? AND alias = ?", place.id, alias)


# Tags


def tags(db: Database, collection_id: int) -> list[Tag]:
    """Return the tags of a collection."""
    return db.all(Tag, "SELECT * FROM collection_tags WHERE collection_id = ? ORDER BY id", collection_id)


def add_tags(db: Database, collection_id: int, names: Iterable[str]) -> None:
    """Add tags to a collection."""
    sql = "INSERT OR IGNORE INTO collection_tags (collection_id, name) VALUES (?, ?)"
    db.run_many(sql, [(collection_id, name) for name in names])


def remove_tags(db: Database, collection_id: int, names: Iterable[str]) -> None:
    """Remove tags from a collection."""
    sql = "DELETE FROM collection_tags WHERE collection_id = ? AND name = ?"
    db.run_many(sql, [(collection_id, name) for name in names])
