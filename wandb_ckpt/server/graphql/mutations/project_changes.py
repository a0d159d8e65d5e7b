"""Mutations of projects and of the user's API keys."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ConflictError, ForbiddenError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.inputs import Input
from wandb_ckpt.server.names import check_project_name, check_type_name
from wandb_ckpt.server.store import accounts, projects
from wandb_ckpt.server.store.records import Project

__all__ = ["delete_api_key", "delete_model", "generate_api_key", "rename_project", "upsert_model"]


def upsert_model(context: Context, data: Input) -> dict[str, Any]:
    """Create or edit a project, found by id or name. Values that are null stay as they are."""
    types = [check_type_name(each["name"]) for each in data.get("artifact_types") or []]
    with context.db.atomic():
        project, inserted = _get_or_create(context, data)
        projects.update(
            context.db,
            project.id,
            description=data.get("description"),
            access=data.get("access"),
            allow_all_types=data.get("allow_all_artifact_types_in_registry"),
        )
        for name in types:
            projects.get_or_create_type(context.db, project.id, name)
    return _payload(context, project, inserted)


def _get_or_create(context: Context, data: Input) -> tuple[Project, bool]:
    if data.get("id"):
        return context.view.project_by_id(data["id"]), False
    owner = context.view.entity(data.get("entity_name"))
    return projects.get_or_create(context.db, owner.id, check_project_name(data.get("name") or ""))


def _payload(context: Context, project: Project, inserted: bool) -> dict[str, Any]:
    changed = projects.project(context.db, project.id)
    return {"project": changed, "model": changed, "inserted": inserted}


def rename_project(context: Context, data: Input) -> dict[str, Any]:
    """Rename a project."""
    project = context.view.project(data["entity_name"], data["old_project_name"])
    name = check_project_name(data["new_project_name"])
    with context.db.atomic():
        if context.view.find_project(None, name):
            raise ConflictError(f"There is a project {name!r} already. Choose another name.")
        projects.rename(context.db, project.id, name)
    return _payload(context, project, inserted=False)


def delete_model(context: Context, data: Input) -> dict[str, Any]:
    """Delete a project that has no versions of its own, such as a registry."""
    if not projects.delete(context.db, context.view.project_by_id(data["id"]).id):
        raise ConflictError("The project has artifact collections. Delete them first.")
    return {"success": True}


def generate_api_key(context: Context, data: Input) -> dict[str, Any]:
    """Create another API key of the user. Only this answer shows it."""
    stored, key = context.services.keys.add(context.user, data.get("description"))
    return {"api_key": {"id": stored.id, "name": key, "description": stored.description}}


def delete_api_key(context: Context, data: Input) -> dict[str, Any]:
    """Delete an API key of the user, but never the last one."""
    if len(accounts.keys(context.db, context.user.id)) <= 1:
        raise ForbiddenError("This is the only API key of the user. Create another one first.")
    return {"success": accounts.remove_key(context.db, context.user.id, ids.decode("ApiKey", data["id"]))}
