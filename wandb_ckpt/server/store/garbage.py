"""Rows that nothing needs any more, and the blobs that the other rows need."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Artifact

__all__ = ["expired", "is_needed", "remove_unreferenced", "stale_pending"]


def stale_pending(db: Database, before: str) -> list[Artifact]:
    """Return the uploads that last went on before a time: their client is gone."""
    return db.all(Artifact, "SELECT * FROM artifacts WHERE state = 'PENDING' AND updated_at < ?", before)


def expired(db: Database, now: str) -> list[Artifact]:
    """Return the versions whose time to live is over."""
    sql = (
        "SELECT * FROM artifacts WHERE state = 'COMMITTED' AND ttl_seconds > 0 "
        "AND unixepoch(created_at) + ttl_seconds < unixepoch(?)"
    )
    return db.all(Artifact, sql, now)


def remove_unreferenced(db: Database) -> None:
    """Delete the objects that no version and no upload needs, then the rest of deleted artifacts and collections."""
    with db.atomic():
        db.run(
            "DELETE FROM objects WHERE id NOT IN (SELECT object_id FROM entries WHERE object_id IS NOT NULL) "
            "AND id NOT IN (SELECT object_id FROM claims)"
        )
        db.run(
            "DELETE FROM artifacts WHERE state = 'DELETED' AND id NOT IN (SELECT artifact_id FROM objects) "
            "AND id NOT IN (SELECT base_artifact_id FROM manifests WHERE base_artifact_id IS NOT NULL)"
        )
        db.run("DELETE FROM collections WHERE state = 'DELETED' AND id NOT IN (SELECT collection_id FROM artifacts)")


def is_needed(db: Database, blob: str) -> bool:
    """Return whether any row refers to a blob."""
    found = db.value(
        "SELECT EXISTS (SELECT 1 FROM objects WHERE blob = ?) OR EXISTS (SELECT 1 FROM manifests WHERE blob = ?) "
        "OR EXISTS (SELECT 1 FROM artifacts WHERE manifest_blob = ?) "
        "OR EXISTS (SELECT 1 FROM run_files WHERE blob = ?) OR EXISTS (SELECT 1 FROM parts WHERE blob = ?)",
        *[blob] * 5,
    )
    return bool(found)
