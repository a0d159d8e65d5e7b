"""The contents of artifacts: uploaded manifests, objects and their parts, and the entries of versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Entry, Manifest, Part, StoredObject

__all__ = [
    "NewEntry",
    "add_entries",
    "announce_object",
    "announce_parts",
    "claim",
    "count_entries",
    "create_manifest",
    "entries",
    "entry",
    "find_object",
    "forget_parts",
    "manifest",
    "manifests",
    "part",
    "parts",
    "set_manifest_blob",
    "set_manifest_digest",
    "set_object_blob",
    "set_part_blob",
    "stored_in_sequence",
    "stored_object",
]

NewEntry = tuple[str, str, int, int | None, str | None]
"""path, digest, size, object id, reference"""


# Manifests


def manifest(db: Database, manifest_id: int) -> Manifest | None:
    """Return the manifest with an id."""
    return db.first(Manifest, "SELECT * FROM manifests WHERE id = ?", manifest_id)


def manifests(db: Database, artifact_id: int) -> list[Manifest]:
    """Return the manifests of an artifact, oldest first. At most one of them is FULL."""
    return db.all(Manifest, "SELECT * FROM manifests WHERE artifact_id = ? ORDER BY id", artifact_id)


def create_manifest(
    db: Database, artifact_id: int, base_artifact_id: int | None, kind: str, name: str, digest: str
) -> Manifest:
    """Announce a manifest that will be uploaded."""
    sql = (
        "INSERT INTO manifests (artifact_id, base_artifact_id, type, name, digest) VALUES (?, ?, ?, ?, ?) RETURNING *"
    )
    return db.insert(Manifest, sql, artifact_id, base_artifact_id, kind, name, digest)


def set_manifest_digest(db: Database, manifest_id: int, digest: str, base_artifact_id: int | None) -> None:
    """Announce the content that will be uploaded. An earlier upload of other content is forgotten."""
    sql = (
        "UPDATE manifests SET blob = CASE WHEN digest = ? THEN blob END, digest = ?, "
        "base_artifact_id = coalesce(?, base_artifact_id) WHERE id = ?"
    )
    db.run(sql, digest, digest, base_artifact_id, manifest_id)


def set_manifest_blob(db: Database, manifest_id: int, blob: str) -> None:
    """Note that a manifest was uploaded."""
    db.run("UPDATE manifests SET blob = ? WHERE id = ?", blob, manifest_id)


# Objects


def stored_object(db: Database, artifact_id: int, digest: str) -> StoredObject | None:
    """Return the object that an artifact uploaded or announced, by its digest."""
    return db.first(StoredObject, "SELECT * FROM objects WHERE artifact_id = ? AND digest = ?", artifact_id, digest)


def find_object(db: Database, object_id: int) -> StoredObject | None:
    """Return the object with an id."""
    return db.first(StoredObject, "SELECT * FROM objects WHERE id = ?", object_id)


def stored_in_sequence(db: Database, collection_id: int, digest: str, md5: str) -> StoredObject | None:
    """Return an uploaded object of the same sequence with the same content."""
    sql = (
        "SELECT * FROM objects WHERE collection_id = ? AND digest = ? AND md5 = ? AND blob IS NOT NULL "
        "ORDER BY id LIMIT 1"
    )
    return db.first(StoredObject, sql, collection_id, digest, md5)


def announce_object(db: Database, artifact_id: int, collection_id: int, digest: str, md5: str) -> StoredObject:
    """Announce an object that will be uploaded."""
    with db.atomic():
        if known := stored_object(db, artifact_id, digest):
            return known
        sql = "INSERT INTO objects (artifact_id, collection_id, digest, md5) VALUES (?, ?, ?, ?) RETURNING *"
        return db.insert(StoredObject, sql, artifact_id, collection_id, digest, md5)


def claim(db: Database, artifact_id: int, object_id: int) -> None:
    """Keep an object from being swept while an artifact that needs it is unfinished."""
    db.run("INSERT OR IGNORE INTO claims (artifact_id, object_id) VALUES (?, ?)", artifact_id, object_id)


def set_object_blob(db: Database, object_id: int, blob: str | None, size: int | None) -> None:
    """Note that an object was uploaded or, with None, that its bytes are lost."""
    db.run("UPDATE objects SET blob = ?, size = ? WHERE id = ?", blob, size, object_id)


# Parts of objects


def announce_parts(db: Database, object_id: int, new: Iterable[tuple[int, str]]) -> None:
    """Announce parts (number, MD5) that will be uploaded. Uploaded parts with the same content are kept."""
    sql = (
        "INSERT INTO parts (object_id, number, md5) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
        "blob = CASE WHEN md5 = excluded.md5 THEN blob END, md5 = excluded.md5"
    )
    db.run_many(sql, [(object_id, number, md5) for number, md5 in new])


def part(db: Database, object_id: int, number: int) -> Part | None:
    """Return one part of an object."""
    return db.first(Part, "SELECT * FROM parts WHERE object_id = ? AND number = ?", object_id, number)


def parts(db: Database, object_id: int) -> list[Part]:
    """Return the parts of an object in order."""
    return db.all(Part, "SELECT * FROM parts WHERE object_id = ? ORDER BY number", object_id)


def set_part_blob(db: Database, object_id: int, number: int, blob: str, size: int) -> None:
    """Note that a part was uploaded."""
    db.run("UPDATE parts SET blob = ?, size = ? WHERE object_id = ? AND number = ?", blob, size, object_id, number)


def forget_parts(db: Database, object_id: int) -> None:
    """Delete the parts of an object."""
    db.run("DELETE FROM parts WHERE object_id = ?", object_id)


# Entries of versions


def add_entries(db: Database, artifact_id: int, new: Iterable[NewEntry]) -> None:
    """Add the files of an artifact that is being committed."""
    sql = "INSERT INTO entries (artifact_id, path, digest, size, object_id, ref) VALUES (?, ?, ?, ?, ?, ?)"
    db.run_many(sql, [(artifact_id, *values) for values in new])


_ENTRY = """
    SELECT e.path, e.digest, e.size, e.ref, o.artifact_id AS birth_artifact_id, o.blob, o.md5
    FROM entries e LEFT JOIN objects o ON o.id = e.object_id WHERE e.artifact_id = ?
"""


def entry(db: Database, artifact_id: int, path: str) -> Entry | None:
    """Return one file of a version by path."""
    return db.first(Entry, f"{_ENTRY} AND e.path = ?", artifact_id, path)


def entries(
    db: Database, artifact_id: int, paths: Sequence[str] | None = None, limit: int = -1, offset: int = 0
) -> list[Entry]:
    """Return the files of a version, ordered by path. Only the given paths, if there are any."""
    if paths:
        found = [entry(db, artifact_id, path) for path in sorted(set(paths))]
        return [each for each in found if each][offset : offset + limit if limit >= 0 else None]
    return db.all(Entry, f"{_ENTRY} ORDER BY e.path LIMIT ? OFFSET ?", artifact_id, limit, offset)


def count_entries(db: Database, artifact_id: int) -> int:
    """Return how many files a version has."""
    count: int = db.value("SELECT count(*) FROM entries WHERE artifact_id = ?", artifact_id)
    return count
