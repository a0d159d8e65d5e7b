"""Collections: sequences that own versions, portfolios that link to them; memberships, aliases and tags."""

# ruff: noqa: S608 (only names of columns and tables of our own are put into SQL)
from __future__ import annotations

from collections.abc import Iterable

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Alias, Collection, Membership, Tag, now, optional, record

__all__ = [
    "add_membership",
    "add_tags",
    "aliases",
    "aliases_of_artifact",
    "change_type",
    "collection",
    "count_memberships",
    "create",
    "delete",
    "in_project",
    "latest_membership",
    "membership",
    "membership_of",
    "membership_versioned",
    "membership_with_alias",
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
    """The collection with that id."""
    return optional(Collection, db.row("SELECT * FROM collections WHERE id = ?", collection_id))


def named(db: Database, project_id: int, name: str) -> Collection | None:
    """The collection of a project by name."""
    row = db.row("SELECT * FROM collections WHERE project_id = ? AND name = ? AND state = 'READY'", project_id, name)
    return optional(Collection, row)


def in_project(db: Database, project_id: int) -> list[Collection]:
    """The collections of a project, oldest first."""
    rows = db.rows("SELECT * FROM collections WHERE project_id = ? AND state = 'READY' ORDER BY id", project_id)
    return [record(Collection, row) for row in rows]


def create(db: Database, project_id: int, type_id: int, kind: str, name: str) -> Collection:
    """A new, empty collection; the caller has seen that the name is free."""
    with db.atomic():
        collection_id = db.insert(
            "INSERT INTO collections (project_id, type_id, kind, name, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            project_id,
            type_id,
            kind,
            name,
            now(),
            now(),
        )
        created = collection(db, collection_id)
    assert created is not None
    return created


def update(db: Database, collection_id: int, *, name: str | None, description: str | None) -> None:
    """Change what is not None."""
    with db.atomic():
        db.run(
            "UPDATE collections SET name = coalesce(?, name), description = coalesce(?, description), updated_at = ? "
            "WHERE id = ?",
            name,
            description,
            now(),
            collection_id,
        )


def change_type(db: Database, collection_id: int, type_id: int) -> None:
    """Give a collection another artifact type."""
    with db.atomic():
        db.run("UPDATE collections SET type_id = ?, updated_at = ? WHERE id = ?", type_id, now(), collection_id)


def touch(db: Database, collection_id: int) -> None:
    """Note that something in the collection changed."""
    with db.atomic():
        db.run("UPDATE collections SET updated_at = ? WHERE id = ?", now(), collection_id)


def delete(db: Database, collection_id: int) -> None:
    """Delete a collection with its memberships; the row stays, its name is free again."""
    with db.atomic():
        db.run("DELETE FROM memberships WHERE collection_id = ?", collection_id)
        db.run("DELETE FROM collection_tags WHERE collection_id = ?", collection_id)
        db.run("UPDATE collections SET state = 'DELETED', updated_at = ? WHERE id = ?", now(), collection_id)


# Memberships


def membership(db: Database, membership_id: int) -> Membership | None:
    """The membership with that id."""
    return optional(Membership, db.row("SELECT * FROM memberships WHERE id = ?", membership_id))


def membership_of(db: Database, collection_id: int, artifact_id: int) -> Membership | None:
    """A version's place in a collection."""
    row = db.row("SELECT * FROM memberships WHERE collection_id = ? AND artifact_id = ?", collection_id, artifact_id)
    return optional(Membership, row)


def membership_versioned(db: Database, collection_id: int, version_index: int) -> Membership | None:
    """The version N of a collection."""
    row = db.row(
        "SELECT * FROM memberships WHERE collection_id = ? AND version_index = ?",
        collection_id,
        version_index,
    )
    return optional(Membership, row)


def membership_with_alias(db: Database, collection_id: int, alias: str) -> Membership | None:
    """The version of a collection that has the alias."""
    row = db.row(
        "SELECT m.* FROM memberships m JOIN aliases a ON a.membership_id = m.id "
        "WHERE a.collection_id = ? AND a.alias = ?",
        collection_id,
        alias,
    )
    return optional(Membership, row)


def latest_membership(db: Database, collection_id: int) -> Membership | None:
    """The version with the highest number."""
    row = db.row(
        "SELECT * FROM memberships WHERE collection_id = ? ORDER BY version_index DESC LIMIT 1", collection_id
    )
    return optional(Membership, row)


def memberships(
    db: Database, collection_id: int, *, newest_first: bool = True, limit: int = -1, offset: int = 0
) -> list[Membership]:
    """The versions of a collection in order of their numbers."""
    rows = db.rows(
        f"SELECT * FROM memberships WHERE collection_id = ? ORDER BY version_index {_direction(newest_first)} "
        "LIMIT ? OFFSET ?",
        collection_id,
        limit,
        offset,
    )
    return [record(Membership, row) for row in rows]


def _direction(newest_first: bool) -> str:
    return "DESC" if newest_first else "ASC"


def count_memberships(db: Database, collection_id: int) -> int:
    """How many versions a collection has."""
    count: int = db.value("SELECT count(*) FROM memberships WHERE collection_id = ?", collection_id)
    return count


def memberships_of_artifact(db: Database, artifact_id: int) -> list[Membership]:
    """All places of a version, its own collection first."""
    rows = db.rows("SELECT * FROM memberships WHERE artifact_id = ? ORDER BY id", artifact_id)
    return [record(Membership, row) for row in rows]


def add_membership(db: Database, collection_id: int, artifact_id: int) -> Membership:
    """The version's place in the collection; a new one gets the next number, numbers are never used twice.

    An alias that looks like that number goes: from now on it is the version's name.
    """
    with db.atomic():
        if known := membership_of(db, collection_id, artifact_id):
            return known
        number = db.value("SELECT next_version FROM collections WHERE id = ?", collection_id)
        db.run(
            "UPDATE collections SET next_version = ?, updated_at = ? WHERE id = ?",
            number + 1,
            now(),
            collection_id,
        )
        membership_id = db.insert(
            "INSERT INTO memberships (collection_id, artifact_id, version_index, created_at) VALUES (?, ?, ?, ?)",
            collection_id,
            artifact_id,
            number,
            now(),
        )
        db.run("DELETE FROM aliases WHERE collection_id = ? AND alias = ?", collection_id, f"v{number}")
        return Membership(membership_id, collection_id, artifact_id, number, now())


def remove_membership(db: Database, membership_id: int) -> None:
    """Take a version out of a collection, with its aliases there."""
    with db.atomic():
        db.run("DELETE FROM memberships WHERE id = ?", membership_id)


# Aliases


def aliases(db: Database, collection_id: int) -> list[Alias]:
    """All aliases of a collection."""
    return [
        record(Alias, row)
        for row in db.rows("SELECT * FROM aliases WHERE collection_id = ? ORDER BY id", collection_id)
    ]


def aliases_of_artifact(db: Database, artifact_id: int) -> list[Alias]:
    """The aliases of a version in all its collections."""
    rows = db.rows(
        "SELECT a.* FROM aliases a JOIN memberships m ON m.id = a.membership_id "
        "WHERE m.artifact_id = ? ORDER BY a.id",
        artifact_id,
    )
    return [record(Alias, row) for row in rows]


def move_alias(db: Database, place: Membership, alias: str) -> None:
    """Put an alias on a version, taking it from the one that had it."""
    with db.atomic():
        db.run(
            "INSERT INTO aliases (collection_id, membership_id, alias) VALUES (?, ?, ?) "
            "ON CONFLICT (collection_id, alias) DO UPDATE SET membership_id = excluded.membership_id",
            place.collection_id,
            place.id,
            alias,
        )


def remove_alias(db: Database, place: Membership, alias: str) -> None:
    """Take an alias off a version, if it is there."""
    with db.atomic():
        db.run("DELETE FROM aliases WHERE membership_id = ? AND alias = ?", place.id, alias)


# Tags


def tags(db: Database, collection_id: int) -> list[Tag]:
    """The tags of a collection."""
    rows = db.rows("SELECT * FROM collection_tags WHERE collection_id = ? ORDER BY id", collection_id)
    return [record(Tag, row) for row in rows]


def add_tags(db: Database, collection_id: int, names: Iterable[str]) -> None:
    """Tag a collection."""
    with db.atomic():
        db.run_many(
            "INSERT OR IGNORE INTO collection_tags (collection_id, name) VALUES (?, ?)",
            [(collection_id, name) for name in names],
        )


def remove_tags(db: Database, collection_id: int, names: Iterable[str]) -> None:
    """Take tags off a collection."""
    with db.atomic():
        db.run_many(
            "DELETE FROM collection_tags WHERE collection_id = ? AND name = ?",
            [(collection_id, name) for name in names],
        )
