"""The frozen records that leave the store. Times are UTC in RFC 3339 with seconds, sizes are bytes."""

from __future__ import annotations

import datetime
import sqlite3
from dataclasses import dataclass, fields
from typing import Any, TypeVar

__all__ = [
    "Alias",
    "ApiKey",
    "Artifact",
    "ArtifactType",
    "Collection",
    "Entry",
    "Manifest",
    "Membership",
    "Part",
    "Project",
    "Run",
    "RunFile",
    "StoredObject",
    "Tag",
    "User",
    "now",
    "optional",
    "record",
]

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class User:
    """One account. Its entity has the same id and name."""

    id: int
    name: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key of a user: the key itself is kept only as a digest, and its first characters as its name."""

    id: int
    user_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Project:
    """One project of an entity (`user_id`). A registry is one, too; `allow_all_types` says that it takes any type."""

    id: int
    user_id: int
    name: str
    description: str | None
    access: str
    created_at: str
    updated_at: str
    allow_all_types: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `name` is the run id in W&B's words; config, summary and tags are JSON texts."""

    id: int
    project_id: int
    name: str
    display_name: str
    description: str | None
    notes: str | None
    config: str
    summary: str
    tags: str
    group_name: str | None
    job_type: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit_hash: str | None
    sweep_name: str | None
    state: str
    exit_code: int | None
    stop_requested: int
    created_at: str
    heartbeat_at: str


@dataclass(frozen=True, slots=True)
class RunFile:
    """One file of a run; `blob` is where its bytes are, `md5` is base64."""

    id: int
    run_id: int
    name: str
    blob: str
    size: int
    md5: str
    mimetype: str | None
    updated_at: str


@dataclass(frozen=True, slots=True)
class ArtifactType:
    """One artifact type of a project, such as "model"."""

    id: int
    project_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Collection:
    """All versions under one name: a SEQUENCE owns them, a PORTFOLIO links to those of others."""

    id: int
    project_id: int
    type_id: int
    kind: str
    name: str
    description: str | None
    state: str
    next_version: int
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version, or one that is still being uploaded (`state` PENDING). `collection_id` is its sequence."""

    id: int
    collection_id: int
    state: str
    digest: str
    digest_algorithm: str
    description: str | None
    metadata: str | None
    size: int
    file_count: int
    history_step: int | None
    ttl_seconds: int | None
    run_id: int | None
    user_id: int
    distributed_id: str | None
    commit_hash: str
    wanted_aliases: str
    manifest_blob: str | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Membership:
    """One version's place in one collection: its own, or one that it is linked to."""

    id: int
    collection_id: int
    artifact_id: int
    version_index: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Alias:
    """One alias; unique within its collection."""

    id: int
    collection_id: int
    membership_id: int
    alias: str


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a version or of a collection."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One uploaded manifest: FULL, INCREMENTAL (to be laid over a base) or PATCH (one writer's part)."""

    id: int
    artifact_id: int
    base_artifact_id: int | None
    type: str
    name: str
    digest: str
    blob: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file's content as announced by the artifact that brought it; `blob` is None until uploaded."""

    id: int
    artifact_id: int
    collection_id: int
    digest: str
    md5: str
    blob: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an object that is uploaded in parts; `blob` is None until uploaded, `md5` is base64."""

    object_id: int
    number: int
    md5: str
    blob: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a version: stored here (`birth_artifact_id`, `blob`), or a reference (`ref`)."""

    path: str
    digest: str
    size: int
    ref: str | None
    birth_artifact_id: int | None
    blob: str | None
    md5: str | None


def record(kind: type[_Record], row: sqlite3.Row) -> _Record:
    """A row as a record of the given kind; the row may have more columns."""
    return kind(**{field.name: row[field.name] for field in _fields(kind)})


def optional(kind: type[_Record], row: sqlite3.Row | None) -> _Record | None:
    """A row that may be missing, as a record of the given kind."""
    return None if row is None else record(kind, row)


def _fields(kind: type[Any]) -> tuple[Any, ...]:
    return fields(kind)


def now() -> str:
    """The time that goes into new rows."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
