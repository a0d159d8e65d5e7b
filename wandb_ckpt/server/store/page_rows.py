"""Rows for the pages beyond the overview: parts of long lists, neighbours, one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.overview import (
    CollectionSummary,
    FileSummary,
    VersionSummary,
    find_collection,
    find_version,
)
from wandb_ckpt.server.store.records import optional, record

__all__ = [
    "MonitoredValue",
    "ProjectCounts",
    "RunVersion",
    "collections_page",
    "files_page",
    "find_file",
    "monitored_values",
    "neighbours",
    "project_counts",
    "run_versions",
    "version_names",
]


_UNKNOWN = "[null, null, null]"


@dataclass(frozen=True, slots=True)
class MonitoredValue:
    """What the metadata of a version says of its monitored value: any JSON, unchecked; None where it says nothing."""

    version_index: int
    monitor: Any
    mode: Any
    value: Any


@dataclass(frozen=True, slots=True)
class RunVersion:
    """One version that a run logged or used, and the sequence that it belongs to."""

    entity: str
    project: str
    type: str
    name: str
    version: VersionSummary


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


def monitored_values(db: Database, collection_id: int) -> list[MonitoredValue]:
    """What every version of a collection says of its monitored value, oldest first."""
    # SQLite reads three keys faster than Python does the whole metadata of 10,000 versions.
    rows = db.rows(
        """
        SELECT m.version_index, json_extract(
            CASE WHEN json_valid(a.metadata) THEN a.metadata END, '$.monitor', '$.mode', '$.value'
        ) AS facts
        FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
        WHERE m.collection_id = ? ORDER BY m.version_index
        """,
        collection_id,
    )
    return [MonitoredValue(row["version_index"], *json.loads(row["facts"] or _UNKNOWN)) for row in rows]


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


_EDGES = """
    SELECT m.collection_id, m.version_index, u.name AS entity, p.name AS project, t.name AS type, c.name AS name
    FROM {table} e JOIN artifacts a ON a.id = e.artifact_id JOIN collections c ON c.id = a.collection_id
        JOIN memberships m ON m.artifact_id = a.id AND m.collection_id = c.id
        JOIN artifact_types t ON t.id = c.type_id JOIN projects p ON p.id = c.project_id
        JOIN users u ON u.id = p.user_id
    WHERE e.run_id = ? AND a.state = 'COMMITTED' ORDER BY a.id DESC LIMIT ?
"""


def run_versions(db: Database, run_id: int, *, logged: bool, limit: int) -> tuple[RunVersion, ...]:
    """The newest versions that a run logged, or used; those may be another project's."""
    rows = db.rows(_EDGES.format(table="run_outputs" if logged else "run_inputs"), run_id, limit)
    found = ((row, find_version(db, row["collection_id"], f"v{row['version_index']}")) for row in rows)
    return tuple(
        RunVersion(row["entity"], row["project"], row["type"], row["name"], version)
        for row, version in found
        if version
    )
