"""What the pages show, in few queries: summaries of projects, runs, collections and versions."""

# ruff: noqa: S608 (only names of our own columns are put into SQL)
from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from wandb_ckpt.server.names import version_number
from wandb_ckpt.server.store.collections import NAMED
from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import record
from wandb_ckpt.server.store.runs import shown_state

__all__ = [
    "VERSION_ORDERS",
    "CollectionSummary",
    "LinkSummary",
    "MonitoredValue",
    "ProjectSummary",
    "RunSummary",
    "RunVersion",
    "VersionSummary",
    "collections",
    "find_collection",
    "find_version",
    "links",
    "monitored_values",
    "neighbours",
    "projects",
    "run_versions",
    "runs",
    "used_by",
    "version_names",
    "versions",
]


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """A project in a list. `updated_at` is the time of its newest version, run or edit."""

    id: int
    name: str
    description: str | None
    created_at: str
    updated_at: str
    run_count: int
    collection_count: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list. `name` is its id in URLs."""

    id: int
    project: str
    entity: str
    name: str
    display_name: str
    state: str
    created_at: str
    heartbeat_at: str
    artifact_count: int = 0


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version in a collection.

    Attributes:
        version_index: The number of the version in this collection.
        aliases: Its aliases in this collection.
        metadata: The parsed JSON object.
        run: The run that logged it, if the run still exists.
        source: "entity/project/name:vN" in its own sequence if the collection links to it, else None.
    """

    artifact_id: int
    version_index: int
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    description: str | None
    digest: str
    size: int
    file_count: int
    created_at: str
    updated_at: str
    run: RunSummary | None
    source: str | None

    @property
    def version(self) -> str:
        """The name `vN`."""
        return f"v{self.version_index}"


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """A collection in a list. `kind` is SEQUENCE, or PORTFOLIO for a collection of links."""

    id: int
    entity: str
    project: str
    name: str
    kind: str
    type: str
    description: str | None
    tags: tuple[str, ...]
    created_at: str
    updated_at: str
    version_count: int
    total_size: int
    latest: VersionSummary | None


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """Another collection that a version is linked to."""

    entity: str
    project: str
    name: str
    type: str
    version_index: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MonitoredValue:
    """The monitored value in the metadata of a version: any JSON, unchecked. None if the metadata has none."""

    version_index: int
    monitor: Any
    mode: Any
    value: Any


@dataclass(frozen=True, slots=True)
class RunVersion:
    """A version that a run logged or used, and its sequence."""

    entity: str
    project: str
    type: str
    name: str
    version: VersionSummary


# Projects and runs


def projects(db: Database, user_id: int) -> list[ProjectSummary]:
    """Return all projects of an entity, newest activity first."""
    sql = """
        SELECT p.id, p.name, p.description, p.created_at,
            max(p.updated_at,
                coalesce((SELECT max(heartbeat_at) FROM runs WHERE project_id = p.id), ''),
                coalesce((SELECT max(updated_at) FROM collections WHERE project_id = p.id), '')
            ) AS updated_at,
            (SELECT count(*) FROM runs WHERE project_id = p.id) AS run_count,
            (SELECT count(*) FROM collections WHERE project_id = p.id AND state = 'READY') AS collection_count
        FROM projects p WHERE p.user_id = ? ORDER BY updated_at DESC, p.id DESC
    """
    return db.all(ProjectSummary, sql, user_id)


_RUN = """
    SELECT r.*, p.name AS project, u.name AS entity,
        (SELECT count(*) FROM run_outputs WHERE run_id = r.id) AS artifact_count
    FROM runs r JOIN projects p ON p.id = r.project_id JOIN users u ON u.id = p.user_id
"""


def runs(db: Database, project_id: int, limit: int, offset: int) -> list[RunSummary]:
    """Return the runs of a project, newest first."""
    sql = f"{_RUN} WHERE r.project_id = ? ORDER BY r.id DESC LIMIT ? OFFSET ?"
    return [_with_shown_state(run) for run in db.all(RunSummary, sql, project_id, limit, offset)]


def used_by(db: Database, artifact_id: int) -> list[RunSummary]:
    """Return the runs that used a version."""
    sql = f"{_RUN} JOIN run_inputs i ON i.run_id = r.id WHERE i.artifact_id = ? ORDER BY r.id"
    return [_with_shown_state(run) for run in db.all(RunSummary, sql, artifact_id)]


def _with_shown_state(run: RunSummary) -> RunSummary:
    return replace(run, state=shown_state(run.state, run.heartbeat_at))


# Collections


_COLLECTION = """
    SELECT c.*, p.name AS project, u.name AS entity, t.name AS type,
        (SELECT json_group_array(name) FROM collection_tags WHERE collection_id = c.id) AS tags,
        (SELECT count(*) FROM memberships WHERE collection_id = c.id) AS version_count,
        (SELECT coalesce(sum(a.size), 0) FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
            WHERE m.collection_id = c.id) AS total_size
    FROM collections c JOIN projects p ON p.id = c.project_id JOIN users u ON u.id = p.user_id
        JOIN artifact_types t ON t.id = c.type_id
    WHERE c.project_id = ? AND c.state = 'READY'
"""


def find_collection(db: Database, project_id: int, name: str) -> CollectionSummary | None:
    """Return the collection of a project by name."""
    return next((_collection(db, row) for row in db.rows(f"{_COLLECTION} AND c.name = ?", project_id, name)), None)


def collections(db: Database, project_id: int, limit: int, offset: int) -> list[CollectionSummary]:
    """Return the collections of a project: models first, then by newest activity."""
    sql = f"{_COLLECTION} ORDER BY t.name <> 'model', c.updated_at DESC, c.id DESC LIMIT ? OFFSET ?"
    return [_collection(db, row) for row in db.rows(sql, project_id, limit, offset)]


def _collection(db: Database, row: sqlite3.Row) -> CollectionSummary:
    latest = next(iter(versions(db, row["id"], limit=1)), None)
    return record(CollectionSummary, dict(row) | {"tags": tuple(json.loads(row["tags"])), "latest": latest})


# Versions


_VERSION = """
    SELECT m.version_index, m.collection_id AS in_collection, a.*, a.id AS artifact_id,
        (SELECT json_group_array(alias) FROM
            (SELECT alias FROM aliases WHERE membership_id = m.id ORDER BY id)) AS aliases,
        (SELECT json_group_array(name) FROM artifact_tags WHERE artifact_id = a.id) AS tags,
        r.id AS r_id, r.name AS r_name, r.display_name AS r_display_name, r.state AS r_state,
        r.created_at AS r_created_at, r.heartbeat_at AS r_heartbeat_at, rp.name AS r_project, ru.name AS r_entity,
        s.name AS s_name, sp.name AS s_project, su.name AS s_entity, sm.version_index AS s_version
    FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
        JOIN collections s ON s.id = a.collection_id
        JOIN projects sp ON sp.id = s.project_id JOIN users su ON su.id = sp.user_id
        LEFT JOIN memberships sm ON sm.artifact_id = a.id AND sm.collection_id = s.id
        LEFT JOIN runs r ON r.id = a.run_id LEFT JOIN projects rp ON rp.id = r.project_id
        LEFT JOIN users ru ON ru.id = rp.user_id
"""
_NUMBER = """
    CASE WHEN json_valid(a.metadata) AND json_type(a.metadata, '$.{0}') IN ('integer', 'real')
    THEN json_extract(a.metadata, '$.{0}') END
"""
_ORDERS = {
    "version": "m.version_index",
    "value": _NUMBER.format("value"),
    "epoch": _NUMBER.format("epoch"),
    "size": "a.size",
    "age": "unixepoch() - unixepoch(a.created_at)",
    "run": "r.display_name COLLATE NOCASE",
}
VERSION_ORDERS = frozenset(_ORDERS)


def versions(
    db: Database,
    collection_id: int,
    limit: int = -1,
    offset: int = 0,
    order: str = "version",
    *,
    downwards: bool = True,
) -> list[VersionSummary]:
    """Return the versions of a collection, newest first by default.

    Args:
        db: The database.
        collection_id: The collection.
        limit: The largest number of versions. All by default.
        offset: The number of versions to leave out first.
        order: The value to sort by, one of `VERSION_ORDERS`. Versions without it come last.
        downwards: Whether the largest value comes first.
    """
    by = f"({_ORDERS[order]}) IS NULL, {_ORDERS[order]} {'DESC' if downwards else 'ASC'}, m.version_index DESC"
    # The inner query chooses the versions. Otherwise the aliases of all versions would be read and sorted.
    sql = f"""
        {_VERSION} WHERE m.id IN (
            SELECT m.id FROM memberships m
                JOIN artifacts a ON a.id = m.artifact_id LEFT JOIN runs r ON r.id = a.run_id
            WHERE m.collection_id = ? ORDER BY {by} LIMIT ? OFFSET ?
        ) ORDER BY {by}
    """
    return [_version(row) for row in db.rows(sql, collection_id, limit, offset)]


def find_version(db: Database, collection_id: int, name: str) -> VersionSummary | None:
    """Return a version of a collection by `vN` or alias, as `collections.membership_named` does."""
    rows = db.rows(f"{_VERSION} WHERE {NAMED}", collection_id, version_number(name), collection_id, name)
    return next(map(_version, rows), None)


def _version(row: sqlite3.Row) -> VersionSummary:
    is_linked = row["collection_id"] != row["in_collection"]
    source = f"{row['s_entity']}/{row['s_project']}/{row['s_name']}:v{row['s_version']}"
    values = {
        "aliases": tuple(json.loads(row["aliases"])),
        "tags": tuple(json.loads(row["tags"])),
        "metadata": _object(row["metadata"]),
        "run": _run_of_version(row),
        "source": source if is_linked else None,
    }
    return record(VersionSummary, dict(row) | values)


def _run_of_version(row: sqlite3.Row) -> RunSummary | None:
    if row["r_id"] is None:
        return None
    values = {key.removeprefix("r_"): row[key] for key in row.keys() if key.startswith("r_")}  # noqa: SIM118
    return _with_shown_state(RunSummary(**values))


def _object(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else {}


def links(db: Database, artifact_id: int) -> list[LinkSummary]:
    """Return the other collections that a version is linked to."""
    sql = """
        SELECT u.name AS entity, p.name AS project, c.name, t.name AS type, m.version_index,
            (SELECT json_group_array(alias) FROM aliases WHERE membership_id = m.id) AS aliases
        FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
            JOIN collections c ON c.id = m.collection_id JOIN artifact_types t ON t.id = c.type_id
            JOIN projects p ON p.id = c.project_id JOIN users u ON u.id = p.user_id
        WHERE m.artifact_id = ? AND m.collection_id <> a.collection_id ORDER BY m.id
    """
    rows = db.rows(sql, artifact_id)
    return [record(LinkSummary, dict(row) | {"aliases": tuple(json.loads(row["aliases"]))}) for row in rows]


def monitored_values(db: Database, collection_id: int) -> list[MonitoredValue]:
    """Return the monitored value of every version of a collection, oldest first."""
    # SQLite reads three keys faster than Python reads the whole metadata of 10,000 versions.
    sql = """
        SELECT m.version_index, json_extract(
            CASE WHEN json_valid(a.metadata) THEN a.metadata END, '$.monitor', '$.mode', '$.value'
        ) AS facts
        FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
        WHERE m.collection_id = ? ORDER BY m.version_index
    """
    unknown = "[null, null, null]"
    rows = db.rows(sql, collection_id)
    return [MonitoredValue(row["version_index"], *json.loads(row["facts"] or unknown)) for row in rows]


def neighbours(db: Database, collection_id: int, version: int) -> tuple[int | None, int | None]:
    """Return the numbers of the versions before and after one. None where there is no such version."""
    sql = """
        SELECT (SELECT max(version_index) FROM memberships WHERE collection_id = ?1 AND version_index < ?2),
            (SELECT min(version_index) FROM memberships WHERE collection_id = ?1 AND version_index > ?2)
    """
    before, after = db.rows(sql, collection_id, version)[0]
    return before, after


def version_names(db: Database, collection_id: int, limit: int) -> list[str]:
    """Return the newest aliases and the newest versions of a collection, at most `limit` of each."""
    sql = """
        SELECT * FROM (SELECT alias FROM aliases WHERE collection_id = ?1 ORDER BY id DESC LIMIT ?2)
        UNION ALL SELECT * FROM (
            SELECT 'v' || version_index FROM memberships WHERE collection_id = ?1
            ORDER BY version_index DESC LIMIT ?2)
    """
    return [row[0] for row in db.rows(sql, collection_id, limit)]


_EDGES = """
    SELECT m.collection_id, m.version_index, u.name AS entity, p.name AS project, t.name AS type, c.name AS name
    FROM {table} e JOIN artifacts a ON a.id = e.artifact_id JOIN collections c ON c.id = a.collection_id
        JOIN memberships m ON m.artifact_id = a.id AND m.collection_id = c.id
        JOIN artifact_types t ON t.id = c.type_id JOIN projects p ON p.id = c.project_id
        JOIN users u ON u.id = p.user_id
    WHERE e.run_id = ? AND a.state = 'COMMITTED' ORDER BY a.id DESC LIMIT ?
"""


def run_versions(db: Database, run_id: int, *, logged: bool, limit: int) -> list[RunVersion]:
    """Return the newest versions that a run logged, or used. They may belong to another project."""
    rows = db.rows(_EDGES.format(table="run_outputs" if logged else "run_inputs"), run_id, limit)
    found = ((row, find_version(db, row["collection_id"], f"v{row['version_index']}")) for row in rows)
    return [
        RunVersion(row["entity"], row["project"], row["type"], row["name"], version)
        for row, version in found
        if version
    ]
