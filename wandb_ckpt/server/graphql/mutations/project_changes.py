"""Mutations: projects."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ConflictError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.version_changes import Input
from wandb_ckpt.server.graphql.nodes.project_fields import ProjectNode
from wandb_ckpt.server.names import check_project_name, check_type_name
from wandb_ckpt.server.store import projects
from wandb_ckpt.server.store.records import Project

__all__ = ["MUTATIONS"]


def upsert_model(context: Context, data: Input) -> dict[str, Any]:
    """A project by its id or name, made on demand; what is null stays."""
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
    return _payload(context, project.id, inserted)


def _get_or_create(context: Context, data: Input) -> tuple[Project, bool]:
    if data.get("id"):
        return _by_id(context, data["id"]), False
    owner = context.entity(data.get("entity_name"))
    return projects.get_or_create(context.db, owner.id, check_project_name(data.get("name") or ""))


def _by_id(context: Context, project_id: str) -> Project:
    found = projects.project(context.db, ids.decode("Project", project_id))
    if found is None or found.user_id != context.user.id:
        raise NotFoundError(f"project with the id {project_id} not found.")
    return found


def _payload(context: Context, project_id: int, inserted: bool) -> dict[str, Any]:
    context.forget()
    node = ProjectNode(context, context.project_of(project_id))
    return {"project": node, "model": node, "inserted": inserted}


def rename_project(context: Context, data: Input) -> dict[str, Any]:
    """Give a project another name."""
    project = context.project(data["entity_name"], data["old_project_name"])
    name = check_project_name(data["new_project_name"])
    with context.db.atomic():
        if context.find_project(None, name):
            raise ConflictError(f"There is a project {name!r} already. Choose another name.")
        projects.rename(context.db, project.id, name)
    return _payload(context, project.id, inserted=False)


def delete_model(context: Context, data: Input) -> dict[str, Any]:
    """Delete a project without versions of its own, as registries are."""
    if not projects.delete(context.db, _by_id(context, data["id"]).id):
        raise ConflictError("The project has artifact collections: delete them first.")
    return {"success": True}


MUTATIONS = {"upsertModel": upsert_model, "renameProject": rename_project, "deleteModel": delete_model}
