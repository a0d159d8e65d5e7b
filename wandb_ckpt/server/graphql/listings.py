"""Lists that clients filter and sort: projects, runs, collections and versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from wandb_ckpt.server.graphql.context import Context, snake_case
from wandb_ckpt.server.graphql.filters import parse, parse_order, select
from wandb_ckpt.server.graphql.paging import Listing
from wandb_ckpt.server.store import artifacts as artifact_rows
from wandb_ckpt.server.store import collections as collection_rows
from wandb_ckpt.server.store import runs as run_rows
from wandb_ckpt.server.store.records import Collection, Membership, Project, Run

__all__ = ["collections", "memberships", "projects", "runs", "versions"]

_PROJECT_FIELDS = frozenset({"id", "name", "description", "created_at", "updated_at"})
_RUN_FIELDS = {
    name: name
    for name in (
        "name", "display_name", "group_name", "job_type", "notes", "description", "host", "sweep_name", "created_at",
        "heartbeat_at",
    )
} | {"group": "group_name", "commit": "commit_hash", "sweep": "sweep_name", "updated_at": "heartbeat_at"}  # fmt: skip
_COLLECTION_FIELDS = frozenset({"name", "description", "state", "created_at", "updated_at"})
_ARTIFACT_FIELDS = frozenset({"state", "digest", "size", "description", "created_at", "updated_at"})
_NUMBER_ORDERS = frozenset({"version_index", "created_at"})


# Projects


def projects(candidates: Iterable[Project], filters: str | None, order: str | None) -> list[Project]:
    """Return the projects that match, newest first by default."""
    return select(candidates, _project_value, filters, order, "-created_at")


def _project_value(project: Project, field: str) -> Any:
    name = snake_case(field)
    if name == "entity_id":
        return project.user_id
    return getattr(project, name) if name in _PROJECT_FIELDS else None


# Runs


def runs(context: Context, project_id: int, filters: str | None, order: str | None) -> list[Run]:
    """Return the runs of a project that match, newest first by default."""

    def value(run: Run, field: str) -> Any:
        return context.user.name if field in {"username", "user.username", "user"} else _run_value(run, field)

    found = run_rows.in_project(context.db, project_id)
    if parse_order(order, "-created_at")[1]:
        found.reverse()  # sorting keeps the order of runs that began in the same second
    return select(found, value, filters, order, "-created_at")


def _run_value(run: Run, field: str) -> Any:
    name, _, rest = snake_case(field).partition(".")
    path = field.split(".")[1:]
    if name == "config" and rest:
        return _config_value(json.loads(run.config), path)
    if name in {"summary_metrics", "summary"} and rest:
        return _inner(json.loads(run.summary), path)
    if field == "state":
        return run_rows.shown_state(run.state, run.heartbeat_at)
    if field == "tags":
        return json.loads(run.tags)
    column = _RUN_FIELDS.get(snake_case(field))
    return getattr(run, column) if column else None


def _config_value(config: dict[str, Any], path: list[str]) -> Any:
    # The stored form is {"lr": {"value": 0.1}}. Users write config.lr as well as config.lr.value.
    wrapped = config.get(path[0])
    value = wrapped.get("value") if isinstance(wrapped, dict) else wrapped
    return _inner(value, path[2:] if path[1:2] == ["value"] else path[1:])


def _inner(value: Any, path: list[str]) -> Any:
    # A key may have dots in it: the key "a.b" wins over the key "b" in "a".
    if not path or not isinstance(value, dict):
        return None if path else value
    whole = ".".join(path)
    return value[whole] if whole in value else _inner(value.get(path[0]), path[1:])


# Collections


def collections(
    context: Context, candidates: Iterable[Collection], filters: str | None, order: str | None
) -> list[Collection]:
    """Return the collections that match, oldest first by default."""

    def value(collection: Collection, field: str) -> Any:
        if field == "type":
            return context.view.type_of(collection.type_id).name
        if field in {"tag", "tags"}:
            return [tag.name for tag in collection_rows.tags(context.db, collection.id)]
        name = snake_case(field)
        return getattr(collection, name) if name in _COLLECTION_FIELDS else None

    return select(candidates, value, filters, order, "created_at")


# Versions


def versions(
    context: Context, collection_id: int, filters: str | None, order: str | None
) -> Listing | list[Membership]:
    """Return the memberships of the versions of a collection that match, newest first by default."""
    field, downwards = parse_order(order, "-version_index")
    # Every client asks for complete versions, and only complete versions are members.
    condition = {name: value for name, value in parse(filters).items() if (name, value) != ("state", "COMMITTED")}
    if condition or snake_case(field) not in _NUMBER_ORDERS:
        return memberships(context, collection_id, filters, order)

    # A collection can be long: only the page is read.
    def read(limit: int, offset: int) -> Sequence[Membership]:
        return collection_rows.memberships(
            context.db, collection_id, newest_first=downwards, limit=limit, offset=offset
        )

    return Listing(collection_rows.count_memberships(context.db, collection_id), read)


def memberships(context: Context, collection_id: int, filters: str | None, order: str | None) -> list[Membership]:
    """Return all memberships of a collection that match, newest first by default."""

    def value(membership: Membership, field: str) -> Any:
        if snake_case(field) == "version_index":
            return membership.version_index
        if field in {"alias", "aliases"}:
            found = collection_rows.aliases_of_artifact(context.db, membership.artifact_id)
            return [alias.alias for alias in found if alias.membership_id == membership.id]
        return _artifact_value(context, membership.artifact_id, field)

    return select(collection_rows.memberships(context.db, collection_id), value, filters, order, "-version_index")


def _artifact_value(context: Context, artifact_id: int, field: str) -> Any:
    if field in {"tag", "tags"}:
        return [tag.name for tag in artifact_rows.tags(context.db, artifact_id)]
    artifact = context.view.artifact_of(artifact_id)
    if field.startswith("metadata."):
        return _inner(json.loads(artifact.metadata or "{}"), field.split(".")[1:])
    name = snake_case(field)
    return getattr(artifact, name) if name in _ARTIFACT_FIELDS else None
