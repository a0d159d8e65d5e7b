"""Contents: manifests, the objects that uploads bring, and the entries of committed versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Entry, Manifest, StoredObject, optional, record

__all__ = [
    "NewEntry",
    "add_entries",
    "announce_object",
    "claim",
    "count_entries",
    "create_manifest",
    "entries",
    "entry",
    "find_object",
    "full_manifest",
    "manifest",
    "manifests",
    "set_manifest_blob",
    "set_manifest_digest",
    "set_object_blob",
    "stored_in_sequence",
    "stored_object",
]

NewEntry = tuple[str, str, int, int | None, str | None]
"""path, digest, size, object id, reference"""


def manifest(db: Database, manifest_id: int) -> Manifest | None:
    """The manifest with that id."""
    return optional(Manifest, db.row("SELECT * FROM manifests WHERE id = ?", manifest_id))


def manifests(db: Database, artifact_id: int) -> list[Manifest]:
    """The manifests of an artifact, oldest first."""
    rows = db.rows("SELECT * FROM manifests WHERE artifact_id = ? ORDER BY id", artifact_id)
    return [record(Manifest, row) for row in rows]


def full_manifest(db: Database, artifact_id: int) -> Manifest | None:
    """The FULL manifest of an artifact; there is at most one."""
    row = db.row("SELECT * FROM manifests WHERE artifact_id = ? AND type = 'FULL' LIMIT 1", artifact_id)
    return optional(Manifest, row)


def create_manifest(
    db: Database, artifact_id: int, base_artifact_id: int | None, kind: str, name: str, digest: str
) -> Manifest:
    """A manifest that is yet to be uploaded."""
    with db.atomic():
        manifest_id = db.insert(
            "INSERT INTO manifests (artifact_id, base_artifact_id, type, name, digest) VALUES (?, ?, ?, ?, ?)",
            artifact_id,
            base_artifact_id,
            kind,
            name,
            digest,
        )
    return Manifest(manifest_id, artifact_id, base_artifact_id, kind, name, digest, None)


def set_manifest_digest(db: Database, manifest_id: int, digest: str, base_artifact_id: int | None) -> None:
    """Announce the content that is going to be uploaded; an earlier upload of other content is forgotten."""
    with db.atomic():
        db.run(
            "UPDATE manifests SET blob = CASE WHEN digest = ? THEN blob END, digest = ?, "
            "base_artifact_id = coalesce(?, base_artifact_id) WHERE id = ?",
            digest,
            digest,
            base_artifact_id,
            manifest_id,
        )


def set_manifest_blob(db: Database, manifest_id: int, blob: str) -> None:
    """The manifest was uploaded."""
    with db.atomic():
        db.run("UPDATE manifests SET blob = ? WHERE id = ?", blob, manifest_id)


# Objects


def stored_object(db: Database, artifact_id: int, digest: str) -> StoredObject | None:
    """The object that an artifact brought, or announced, by its digest."""
    row = db.row("SELECT * FROM objects WHERE artifact_id = ? AND digest = ?", artifact_id, digest)
    return optional(StoredObject, row)


def find_object(db: Database, object_id: int) -> StoredObject | None:
    """The object with that id."""
    return optional(StoredObject, db.row("SELECT * FROM objects WHERE id = ?", object_id))


def stored_in_sequence(db: Database, collection_id: int, digest: str, md5: str) -> StoredObject | None:
    """An uploaded object of the same sequence with the same content."""
    row = db.row(
        "SELECT * FROM objects WHERE collection_id = ? AND digest = ? AND md5 = ? AND blob IS NOT NULL "
        "ORDER BY id LIMIT 1",
        collection_id,
        digest,
        md5,
    )
    return optional(StoredObject, row)


def announce_object(db: Database, artifact_id: int, collection_id: int, digest: str, md5: str) -> StoredObject:
    """An object that is going to be uploaded."""
    with db.atomic():
        db.run(
            "INSERT OR IGNORE INTO objects (artifact_id, collection_id, digest, md5) VALUES (?, ?, ?, ?)",
            artifact_id,
            collection_id,
            digest,
            md5,
        )
        announced = stored_object(db, artifact_id, digest)
    assert announced is not None
    return announced


def claim(db: Database, artifact_id: int, object_id: int) -> None:
    """An unfinished artifact is going to refer to the object: no sweep may take it until then."""
    with db.atomic():
        db.run("INSERT OR IGNORE INTO claims (artifact_id, object_id) VALUES (?, ?)", artifact_id, object_id)


def set_object_blob(db: Database, object_id: int, blob: str | None, size: int | None) -> None:
    """The object was uploaded; or, with None, its bytes were found to be lost."""
    with db.atomic():
        db.run("UPDATE objects SET blob = ?, size = ? WHERE id = ?", blob, size, object_id)


# Entries


def add_entries(db: Database, artifact_id: int, new: Iterable[NewEntry]) -> None:
    """The files of an artifact that is being committed."""
    with db.atomic():
        db.run_many(
            "INSERT INTO entries (artifact_id, path, digest, size, object_id, ref) VALUES (?, ?, ?, ?, ?, ?)",
            [(artifact_id, *values) for values in new],
        )


_ENTRY = """
    SELECT e.path, e.digest, e.size, e.ref, o.artifact_id AS birth_artifact_id, o.blob, o.md5
    FROM entries e LEFT JOIN objects o ON o.id = e.object_id WHERE e.artifact_id = ?
"""


def entry(db: Database, artifact_id: int, path: str) -> Entry | None:
    """One file of a version by its path."""
    return optional(Entry, db.row(f"{_ENTRY} AND e.path = ?", artifact_id, path))


def entries(
    db: Database, artifact_id: int, paths: Sequence[str] | None = None, limit: int = -1, offset: int = 0
) -> list[Entry]:
    """The files of a version in order of their paths; only the given ones, if any are."""
    if paths:
        found = [entry(db, artifact_id, path) for path in sorted(set(paths))]
        return [each for each in found if each][offset : offset + limit if limit >= 0 else None]
    rows = db.rows(f"{_ENTRY} ORDER BY e.path LIMIT ? OFFSET ?", artifact_id, limit, offset)
    return [record(Entry, row) for row in rows]


def count_entries(db: Database, artifact_id: int) -> int:
    """How many files a version has."""
    count: int = db.value("SELECT count(*) FROM entries WHERE artifact_id = ?", artifact_id)
    return count
