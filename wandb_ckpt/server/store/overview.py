"""What the pages show, read in few queries: projects, models, versions, files, lineage, runs.

Everything is looked up from the ids of the level above, so a page first finds its project:
`find_project(db, user.id, "name")`, then `find_collection(db, project.id, "name")`, and so on.
"""

# ruff: noqa: S608 (only names of columns of our own are put into SQL)
from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Project, Run, optional, record
from wandb_ckpt.server.store.run_state import shown_state

__all__ = [
    "VERSION_ORDERS",
    "CollectionSummary",
    "FileSummary",
    "Lineage",
    "LinkSummary",
    "ProjectSummary",
    "RunSummary",
    "VersionSummary",
    "console_lines",
    "files",
    "find_collection",
    "find_project",
    "find_run",
    "find_version",
    "lineage",
    "links",
    "projects",
    "runs",
    "versions",
]


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """One project as a line of a list. `updated_at` is its newest version, run or edit."""

    id: int
    name: str
    description: str | None
    created_at: str
    updated_at: str
    run_count: int
    collection_count: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as a line of a list. `name` is its id in URLs, `display_name` is for people."""

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
    """One version in one collection.

    `version_index` and `aliases` are the ones of that collection; `run` is the run that logged it, if it is
    still there. `metadata` is the parsed JSON object. `source` is "entity/project/name:vN" in the version's
    own sequence where the collection only links to it, else None.
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
        """The name `v<N>`."""
        return f"v{self.version_index}"


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One collection as a line of a list. `kind` is SEQUENCE, or PORTFOLIO for a collection of links."""

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
class FileSummary:
    """One file of a version. `ref` is set for a reference, which has no bytes here."""

    path: str
    size: int
    digest: str
    ref: str | None
    blob: str | None


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
class Lineage:
    """The runs around one version."""

    logged_by: RunSummary | None
    used_by: tuple[RunSummary, ...]


def find_project(db: Database, user_id: int, name: str) -> Project | None:
    """The project of an entity by name."""
    row = db.row("SELECT * FROM projects WHERE user_id = ? AND name = ?", user_id, name)
    return optional(Project, row)


def projects(db: Database, user_id: int) -> tuple[ProjectSummary, ...]:
    """All projects of an entity, the one with the newest activity first."""
    rows = db.rows(
        """
        SELECT p.id, p.name, p.description, p.created_at,
            max(p.updated_at,
                coalesce((SELECT max(heartbeat_at) FROM runs WHERE project_id = p.id), ''),
                coalesce((SELECT max(updated_at) FROM collections WHERE project_id = p.id), '')
            ) AS updated_at,
            (SELECT count(*) FROM runs WHERE project_id = p.id) AS run_count,
            (SELECT count(*) FROM collections WHERE project_id = p.id AND state = 'READY') AS collection_count
        FROM projects p WHERE p.user_id = ? ORDER BY updated_at DESC, p.id DESC
        """,
        user_id,
    )
    return tuple(record(ProjectSummary, row) for row in rows)


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
    """The collection of a project by name."""
    row = db.row(f"{_COLLECTION} AND c.name = ?", project_id, name)
    return None if row is None else _collection(db, row)


def _collection(db: Database, row: sqlite3.Row) -> CollectionSummary:
    return CollectionSummary(
        id=row["id"],
        entity=row["entity"],
        project=row["project"],
        name=row["name"],
        kind=row["kind"],
        type=row["type"],
        description=row["description"],
        tags=tuple(json.loads(row["tags"])),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        version_count=row["version_count"],
        total_size=row["total_size"],
        latest=next(iter(versions(db, row["id"], limit=1)), None),
    )


_VERSION = """
    SELECT m.version_index, m.collection_id AS in_collection, a.*,
        (SELECT json_group_array(alias) FROM
            (SELECT alias FROM aliases WHERE membership_id = m.id ORDER BY id)) AS aliases,
        (SELECT json_group_array(name) FROM artifact_tags WHERE artifact_id = a.id) AS tags,
        r.id AS r_id, r.name AS r_name, r.display_name AS r_display_name, r.state AS r_state,
        r.created_at AS r_created_at, r.heartbeat_at AS r_heartbeat_at,
        rp.name AS r_project, ru.name AS r_entity,
        s.name AS s_name, st.name AS s_type, sp.name AS s_project, su.name AS s_entity,
        sm.version_index AS s_version
    FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
        JOIN collections s ON s.id = a.collection_id JOIN artifact_types st ON st.id = s.type_id
        JOIN projects sp ON sp.id = s.project_id JOIN users su ON su.id = sp.user_id
        LEFT JOIN memberships sm ON sm.artifact_id = a.id AND sm.collection_id = s.id
        LEFT JOIN runs r ON r.id = a.run_id LEFT JOIN projects rp ON rp.id = r.project_id
        LEFT JOIN users ru ON ru.id = rp.user_id
"""

_CALLED = """
    m.id = coalesce(
        (SELECT id FROM memberships WHERE collection_id = ? AND version_index = ?),
        (SELECT membership_id FROM aliases WHERE collection_id = ? AND alias = ?))
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
) -> tuple[VersionSummary, ...]:
    """The versions of a collection, newest first; all of them unless a limit is given.

    Args:
        db: Where the rows are.
        collection_id: The collection.
        limit: How many at most.
        offset: How many to leave out before.
        order: What they are ordered by, one of `VERSION_ORDERS`; versions that do not have it come last.
        downwards: Whether the largest comes first.
    """
    by = f"({_ORDERS[order]}) IS NULL, {_ORDERS[order]} {'DESC' if downwards else 'ASC'}, m.version_index DESC"
    # First which they are, then the rest: else the aliases of all versions would be read to be sorted along.
    rows = db.rows(
        f"""
        {_VERSION} WHERE m.id IN (
            SELECT m.id FROM memberships m
                JOIN artifacts a ON a.id = m.artifact_id LEFT JOIN runs r ON r.id = a.run_id
            WHERE m.collection_id = ? ORDER BY {by} LIMIT ? OFFSET ?
        ) ORDER BY {by}
        """,
        collection_id,
        limit,
        offset,
    )
    return tuple(_version(row) for row in rows)


def find_version(db: Database, collection_id: int, name: str) -> VersionSummary | None:
    """One version of a collection by `vN` or by alias; a number wins over an alias that looks like one."""
    row = db.row(f"{_VERSION} WHERE {_CALLED}", collection_id, _number(name), collection_id, name)
    return None if row is None else _version(row)


def _number(name: str) -> int | None:
    is_number = name.startswith("v") and name[1:].isdecimal() and name.isascii() and len(name) < 19
    return int(name[1:]) if is_number else None


def _version(row: sqlite3.Row) -> VersionSummary:
    linked = row["collection_id"] != row["in_collection"]
    source = f"{row['s_entity']}/{row['s_project']}/{row['s_name']}:v{row['s_version']}"
    return VersionSummary(
        artifact_id=row["id"],
        version_index=row["version_index"],
        aliases=tuple(json.loads(row["aliases"])),
        tags=tuple(json.loads(row["tags"])),
        metadata=_object(row["metadata"]),
        description=row["description"],
        digest=row["digest"],
        size=row["size"],
        file_count=row["file_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        run=_run_of_version(row),
        source=source if linked else None,
    )


def _run_of_version(row: sqlite3.Row) -> RunSummary | None:
    if row["r_id"] is None:
        return None
    return RunSummary(
        id=row["r_id"],
        project=row["r_project"],
        entity=row["r_entity"],
        name=row["r_name"],
        display_name=row["r_display_name"],
        state=shown_state(row["r_state"], row["r_heartbeat_at"]),
        created_at=row["r_created_at"],
        heartbeat_at=row["r_heartbeat_at"],
    )


def _object(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else {}


def files(db: Database, artifact_id: int, after: str = "", limit: int = -1) -> tuple[FileSummary, ...]:
    """The files of a version in the order of their paths, those behind the path `after`."""
    rows = db.rows(
        """
        SELECT e.path, e.size, e.digest, e.ref, o.blob
        FROM entries e LEFT JOIN objects o ON o.id = e.object_id
        WHERE e.artifact_id = ? AND e.path > ? ORDER BY e.path LIMIT ?
        """,
        artifact_id,
        after,
        limit,
    )
    return tuple(record(FileSummary, row) for row in rows)


def links(db: Database, artifact_id: int) -> tuple[LinkSummary, ...]:
    """The other collections that a version is linked to."""
    rows = db.rows(
        """
        SELECT u.name AS entity, p.name AS project, c.name, t.name AS type, m.version_index,
            (SELECT json_group_array(alias) FROM aliases WHERE membership_id = m.id) AS aliases
        FROM memberships m JOIN artifacts a ON a.id = m.artifact_id
            JOIN collections c ON c.id = m.collection_id
            JOIN artifact_types t ON t.id = c.type_id
            JOIN projects p ON p.id = c.project_id
            JOIN users u ON u.id = p.user_id
        WHERE m.artifact_id = ? AND m.collection_id <> a.collection_id ORDER BY m.id
        """,
        artifact_id,
    )
    return tuple(LinkSummary(**{**dict(row), "aliases": tuple(json.loads(row["aliases"]))}) for row in rows)


_RUN = """
    SELECT r.*, p.name AS project, u.name AS entity,
        (SELECT count(*) FROM run_outputs WHERE run_id = r.id) AS artifact_count
    FROM runs r JOIN projects p ON p.id = r.project_id JOIN users u ON u.id = p.user_id
"""


def lineage(db: Database, artifact_id: int) -> Lineage:
    """The run that logged a version and the runs that used it."""
    logged = db.row(f"{_RUN} JOIN artifacts a ON a.run_id = r.id WHERE a.id = ?", artifact_id)
    used = db.rows(f"{_RUN} JOIN run_inputs i ON i.run_id = r.id WHERE i.artifact_id = ? ORDER BY r.id", artifact_id)
    return Lineage(None if logged is None else _summary(logged), tuple(_summary(row) for row in used))


def _summary(row: sqlite3.Row) -> RunSummary:
    run = record(RunSummary, row)
    return replace(run, state=shown_state(run.state, run.heartbeat_at))


def runs(db: Database, project_id: int, limit: int = -1, offset: int = 0) -> tuple[RunSummary, ...]:
    """The runs of a project, newest first."""
    rows = db.rows(f"{_RUN} WHERE r.project_id = ? ORDER BY r.id DESC LIMIT ? OFFSET ?", project_id, limit, offset)
    return tuple(_summary(row) for row in rows)


def find_run(db: Database, project_id: int, name: str) -> Run | None:
    """One run of a project by its id in URLs; config and summary are JSON texts."""
    row = db.row("SELECT * FROM runs WHERE project_id = ? AND name = ?", project_id, name)
    run = optional(Run, row)
    return run and replace(run, state=shown_state(run.state, run.heartbeat_at))


def console_lines(db: Database, run_id: int, last: int = 1000) -> tuple[str, ...]:
    """The last lines that a run wrote to its console, oldest first, as the client sent them."""
    rows = db.rows(
        "SELECT content FROM run_lines WHERE run_id = ? AND stream = 'output' ORDER BY line DESC LIMIT ?",
        run_id,
        last,
    )
    return tuple(row["content"] for row in reversed(rows))
