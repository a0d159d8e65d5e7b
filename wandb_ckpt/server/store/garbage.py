"""Garbage: rows that nothing needs any more, and which blobs the others need."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Artifact, record

__all__ = ["expired", "is_needed", "remove_unreferenced", "stale_pending"]


def stale_pending(db: Database, before: str) -> list[Artifact]:
    """Uploads that were last heard of before that time: their client is gone."""
    rows = db.rows("SELECT * FROM artifacts WHERE state = 'PENDING' AND updated_at < ?", before)
    return [record(Artifact, row) for row in rows]


def expired(db: Database, now: str) -> list[Artifact]:
    """Versions whose time to live is over."""
    rows = db.rows(
        "SELECT * FROM artifacts WHERE state = 'COMMITTED' AND ttl_seconds > 0 "
        "AND unixepoch(created_at) + ttl_seconds < unixepoch(?)",
        now,
    )
    return [record(Artifact, row) for row in rows]


def remove_unreferenced(db: Database) -> int:
    """Forget objects that no version has and no upload needs, then what is left of deleted things.

    Returns:
        The number of objects.
    """
    with db.atomic():
        objects = db.run(
            "DELETE FROM objects WHERE id NOT IN (SELECT object_id FROM entries WHERE object_id IS NOT NULL) "
            "AND id NOT IN (SELECT object_id FROM claims)"
        )
        db.run(
            "DELETE FROM artifacts WHERE state = 'DELETED' AND id NOT IN (SELECT artifact_id FROM objects) "
            "AND id NOT IN (SELECT base_artifact_id FROM manifests WHERE base_artifact_id IS NOT NULL)"
        )
        db.run("DELETE FROM collections WHERE state = 'DELETED' AND id NOT IN (SELECT collection_id FROM artifacts)")
        return objects


def is_needed(db: Database, blob: str) -> bool:
    """Whether any row refers to the blob."""
    found = db.value(
        "SELECT EXISTS (SELECT 1 FROM objects WHERE blob = ?) OR EXISTS (SELECT 1 FROM manifests WHERE blob = ?) "
        "OR EXISTS (SELECT 1 FROM artifacts WHERE manifest_blob = ?) "
        "OR EXISTS (SELECT 1 FROM run_files WHERE blob = ?) OR EXISTS (SELECT 1 FROM parts WHERE blob = ?)",
        *[blob] * 5,
    )
    return bool(found)
