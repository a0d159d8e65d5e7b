"""The frozen records that the store returns. Times are UTC in RFC 3339 with seconds, sizes are bytes."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
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
    "record",
    "timestamp",
]

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class User:
    """A user. Its entity has the same id and name."""

    id: int
    name: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of a user. Only its digest is stored; `name` is its first characters."""

    id: int
    user_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Project:
    """A project of an entity (`user_id`). A registry is a project; with `allow_all_types` it accepts any type."""

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
    """A run. `name` is what W&B calls the run id. `config`, `summary` and `tags` are JSON texts."""

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
    """A file of a run. `blob` is the id of its bytes, `md5` is base64."""

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
    """An artifact type of a project, such as "model"."""

    id: int
    project_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of versions: a SEQUENCE owns its versions, a PORTFOLIO links to versions of sequences."""

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
    """A version, or an upload that is not complete (`state` PENDING). `collection_id` is its sequence."""

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
    """The place of a version in a collection: in its own sequence, or in a portfolio that links to it."""

    id: int
    collection_id: int
    artifact_id: int
    version_index: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias. It is unique within its collection."""

    id: int
    collection_id: int
    membership_id: int
    alias: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a version or of a collection."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """An uploaded manifest: FULL, INCREMENTAL (changes to a base version) or PATCH (the part of one process)."""

    id: int
    artifact_id: int
    base_artifact_id: int | None
    type: str
    name: str
    digest: str
    blob: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The content of a file, as its artifact announced it. `blob` is None until it is uploaded."""

    id: int
    artifact_id: int
    collection_id: int
    digest: str
    md5: str
    blob: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an object that is uploaded in parts. `blob` is None until it is uploaded, `md5` is base64."""

    object_id: int
    number: int
    md5: str
    blob: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a version: stored here (`birth_artifact_id`, `blob`), or a reference (`ref`)."""

    path: str
    digest: str
    size: int
    ref: str | None
    birth_artifact_id: int | None
    blob: str | None
    md5: str | None


def record(kind: type[_Record], row: Mapping[str, Any] | sqlite3.Row) -> _Record:
    """Return a row as a record. The row may have more columns."""
    names: Any = kind.__match_args__  # type: ignore[attr-defined]  # the fields of a dataclass
    return kind(**{name: row[name] for name in names})


def now() -> str:
    """Return the current time as rows have it."""
    return timestamp(datetime.datetime.now(datetime.UTC))


def timestamp(time: datetime.datetime) -> str:
    """Return a time in UTC as rows have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
