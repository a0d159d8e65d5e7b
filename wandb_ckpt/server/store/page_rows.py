"""Rows for the pages beyond the overview: parts of long lists, neighbours, one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.overview import CollectionSummary, FileSummary, find_collection
from wandb_ckpt.server.store.records import optional, record

__all__ = [
    "ProjectCounts",
    "collections_page",
    "files_page",
    "find_file",
    "homes_of_inputs",
    "metadata_of_versions",
    "neighbours",
    "project_counts",
    "version_names",
]


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """How much there is in a project."""

    collections: int
    runs: int


def project_counts(db: Database, project_id: int) -> ProjectCounts:
    """The lengths of a project's lists."""
    collections = "SELECT count(*) FROM collections WHERE project_id = ? AND state = 'READY'"
    runs = "SELECT count(*) FROM runs WHERE project_id = ?"
    return ProjectCounts(db.value(collections, project_id), db.value(runs, project_id))


def collections_page(db: Database, project_id: int, limit: int, offset: int) -> tuple[CollectionSummary, ...]:
    """One part of a project's collections: models first, then the others, newest activity first."""
    rows = db.rows(
        """
        SELECT c.name FROM collections c JOIN artifact_types t ON t.id = c.type_id
        WHERE c.project_id = ? AND c.state = 'READY'
        ORDER BY t.name <> 'model', c.updated_at DESC, c.id DESC LIMIT ? OFFSET ?
        """,
        project_id,
        limit,
        offset,
    )
    found = (find_collection(db, project_id, row["name"]) for row in rows)
    return tuple(collection for collection in found if collection)


def metadata_of_versions(db: Database, collection_id: int) -> list[tuple[int, dict[str, Any]]]:
    """The index and the metadata of every version of a collection, oldest first."""
    rows = db.rows(
        """
        SELECT m.version_index, a.metadata FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
        WHERE m.collection_id = ? ORDER BY m.version_index
        """,
        collection_id,
    )
    parsed = ((row["version_index"], json.loads(row["metadata"] or "{}")) for row in rows)
    return [(version, value if isinstance(value, dict) else {}) for version, value in parsed]


def neighbours(db: Database, collection_id: int, version: int) -> tuple[int | None, int | None]:
    """The indexes of the versions before and after one; None where there is none."""
    row = db.row(
        """
        SELECT (SELECT max(version_index) FROM memberships WHERE collection_id = ?1 AND version_index < ?2),
            (SELECT min(version_index) FROM memberships WHERE collection_id = ?1 AND version_index > ?2)
        """,
        collection_id,
        version,
    )
    assert row is not None
    return row[0], row[1]


def version_names(db: Database, collection_id: int, limit: int) -> tuple[str, ...]:
    """All aliases of a collection and its newest versions, so many of each at most."""
    aliases = db.rows(
        "SELECT alias FROM aliases WHERE collection_id = ? ORDER BY id DESC LIMIT ?", collection_id, limit
    )
    versions = db.rows(
        "SELECT version_index FROM memberships WHERE collection_id = ? ORDER BY version_index DESC LIMIT ?",
        collection_id,
        limit,
    )
    return (*(row["alias"] for row in aliases), *(f"v{row['version_index']}" for row in versions))


_FILE = """
    SELECT e.path, e.size, e.digest, e.ref, o.blob FROM entries e LEFT JOIN objects o ON o.id = e.object_id
    WHERE e.artifact_id = ?
"""


def files_page(db: Database, artifact_id: int, limit: int, offset: int) -> tuple[FileSummary, ...]:
    """One part of a version's files in the order of their paths."""
    rows = db.rows(f"{_FILE} ORDER BY e.path LIMIT ? OFFSET ?", artifact_id, limit, offset)
    return tuple(record(FileSummary, row) for row in rows)


def find_file(db: Database, artifact_id: int, path: str) -> FileSummary | None:
    """One file of a version."""
    return optional(FileSummary, db.row(f"{_FILE} AND e.path = ?", artifact_id, path))


def homes_of_inputs(db: Database, run_id: int) -> dict[int, tuple[str, str]]:
    """Entity and project of every version that a run used, by artifact id: it may be from elsewhere."""
    rows = db.rows(
        """
        SELECT a.id, u.name AS entity, p.name AS project FROM run_inputs i
            JOIN artifacts a ON a.id = i.artifact_id JOIN collections c ON c.id = a.collection_id
            JOIN projects p ON p.id = c.project_id JOIN users u ON u.id = p.user_id
        WHERE i.run_id = ?
        """,
        run_id,
    )
    return {row["id"]: (row["entity"], row["project"]) for row in rows}
