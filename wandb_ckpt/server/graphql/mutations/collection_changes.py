"""Mutations of collections: their aliases, the links in portfolios, and the collections themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ConflictError, InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.inputs import Input, alias_names, tag_names
from wandb_ckpt.server.names import check_alias, check_collection_name, check_type_name
from wandb_ckpt.server.store import Database, artifacts, collections, projects
from wandb_ckpt.server.store.records import Artifact, Collection, Membership, Project
from wandb_ckpt.server.versions import aliases
from wandb_ckpt.server.versions.removal import delete_version

__all__ = [
    "add_aliases",
    "create_artifact_collection_tag_assignments",
    "delete_aliases",
    "delete_artifact_collection_tag_assignments",
    "delete_artifact_portfolio",
    "delete_artifact_sequence",
    "link_artifact",
    "move_artifact_sequence",
    "unlink_artifact",
    "update_artifact_portfolio",
    "update_artifact_sequence",
]


def add_aliases(context: Context, data: Input) -> dict[str, Any]:
    """Set aliases on a version. The versions that had them lose them."""
    return _change_aliases(context, data, aliases.put)


def delete_aliases(context: Context, data: Input) -> dict[str, Any]:
    """Remove aliases from a version."""
    return _change_aliases(context, data, collections.remove_alias)


def _change_aliases(
    context: Context, data: Input, change: Callable[[Database, Membership, str], None]
) -> dict[str, Any]:
    artifact = context.view.committed(data["artifact_id"])
    with context.db.atomic():
        for each in data["aliases"]:
            place = _membership(context, artifact, each)
            change(context.db, place, check_alias(each["alias"]))
            collections.touch(context.db, place.collection_id)
        artifacts.touch(context.db, artifact.id)
    return {"success": True}


def _membership(context: Context, artifact: Artifact, alias: Input) -> Membership:
    name = alias["artifact_collection_name"]
    collection = context.view.collection_named(alias["entity_name"], alias["project_name"], name)
    found = collections.membership_of(context.db, collection.id, artifact.id)
    if found is None:
        raise NotFoundError(f"The version is not in the collection {name!r}, so it can't have an alias there.")
    return found


# Links


def link_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Link a version into a portfolio, which is created if need be. A second link only moves the aliases."""
    artifact = _linked_artifact(context, data)
    wanted = alias_names(data.get("aliases"))
    with context.db.atomic(durable=True):
        portfolio = _portfolio(context, data, artifact)
        place = collections.add_membership(context.db, portfolio.id, artifact.id)
        aliases.make_latest(context.db, place, wanted)
    return {"version_index": place.version_index, "artifact_membership": place}


def _linked_artifact(context: Context, data: Input) -> Artifact:
    artifact_id, client_id = data.get("artifact_id"), data.get("client_id")
    if artifact_id:
        return context.view.committed(artifact_id)
    known = artifacts.of_client_id(context.db, context.user.id, client_id) if client_id else None
    if known is None:
        raise NotFoundError("artifact to link not found. Give the id of an artifact that was logged.")
    return context.view.committed(ids.encode("Artifact", known.id))


def _portfolio(context: Context, data: Input, artifact: Artifact) -> Collection:
    if data.get("artifact_portfolio_id"):
        return context.view.collection(data["artifact_portfolio_id"], "PORTFOLIO")
    project = context.view.project_on_demand(data.get("entity_name"), data.get("project_name"))
    type_name = context.view.type_of(context.view.collection_of(artifact.collection_id).type_id).name
    _check_accepted(context, project, type_name)
    name = data.get("artifact_portfolio_name") or ""
    return context.view.collection_on_demand(project, name, type_name, "PORTFOLIO")


def _check_accepted(context: Context, project: Project, type_name: str) -> None:
    if project.allow_all_types or projects.artifact_type_named(context.db, project.id, type_name):
        return
    accepted = ", ".join(each.name for each in projects.artifact_types(context.db, project.id)) or "none yet"
    raise ConflictError(
        f"The registry {project.name!r} does not accept artifacts of type {type_name!r}. It accepts: {accepted}. "
        "Add the type to the registry, or link to another one."
    )


def unlink_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Remove a version from a portfolio."""
    artifact = context.view.artifact(data["artifact_id"])
    portfolio = context.view.collection(data["artifact_portfolio_id"])
    if portfolio.id == artifact.collection_id:
        raise InvalidRequestError("A version can't be unlinked from its own collection. Delete it instead.")
    place = collections.membership_of(context.db, portfolio.id, artifact.id)
    if place is None:
        raise NotFoundError(f"The version is not linked to {portfolio.name!r}.")
    with context.db.atomic(durable=True):
        collections.remove_membership(context.db, place.id)
        collections.touch(context.db, portfolio.id)
    return {"success": True}


# Collections


def update_artifact_sequence(context: Context, data: Input) -> dict[str, Any]:
    """Rename or describe a sequence."""
    return _update(context, context.view.collection(data["artifact_sequence_id"], "SEQUENCE"), data)


def update_artifact_portfolio(context: Context, data: Input) -> dict[str, Any]:
    """Rename or describe a portfolio."""
    return _update(context, context.view.collection(data["artifact_portfolio_id"], "PORTFOLIO"), data)


def _update(context: Context, collection: Collection, data: Input) -> dict[str, Any]:
    name = data.get("name")
    with context.db.atomic():
        if name is not None and name != collection.name:
            check_collection_name(name)
            if collections.named(context.db, collection.project_id, name):
                raise ConflictError(f"There is an artifact collection {name!r} already. Choose another name.")
        collections.update(context.db, collection.id, name=name, description=data.get("description"))
    return _payload(context, collection)


def _payload(context: Context, collection: Collection) -> dict[str, Any]:
    return {"artifact_collection": collections.collection(context.db, collection.id)}


def move_artifact_sequence(context: Context, data: Input) -> dict[str, Any]:
    """Change the artifact type of a sequence."""
    sequence = context.view.collection(data["artifact_sequence_id"], "SEQUENCE")
    name = check_type_name(data["destination_artifact_type_name"])
    with context.db.atomic():
        artifact_type = projects.get_or_create_type(context.db, sequence.project_id, name)
        collections.change_type(context.db, sequence.id, artifact_type.id)
    return _payload(context, sequence)


def delete_artifact_sequence(context: Context, data: Input) -> dict[str, Any]:
    """Delete a sequence with all its versions."""
    sequence = context.view.collection(data["artifact_sequence_id"], "SEQUENCE")
    with context.db.atomic(durable=True):
        for place in collections.memberships(context.db, sequence.id):
            delete_version(context.db, context.view.artifact_of(place.artifact_id))
        collections.delete(context.db, sequence.id)
    return _payload(context, sequence)


def delete_artifact_portfolio(context: Context, data: Input) -> dict[str, Any]:
    """Delete a portfolio. The versions that it links to stay."""
    portfolio = context.view.collection(data["artifact_portfolio_id"], "PORTFOLIO")
    with context.db.atomic(durable=True):
        collections.delete(context.db, portfolio.id)
    return _payload(context, portfolio)


def create_artifact_collection_tag_assignments(context: Context, data: Input) -> dict[str, Any]:
    """Add tags to a collection."""
    collection = _named(context, data)
    names = tag_names(data["tags"])
    collections.add_tags(context.db, collection.id, names)
    return {"tags": [tag for tag in collections.tags(context.db, collection.id) if tag.name in names]}


def delete_artifact_collection_tag_assignments(context: Context, data: Input) -> dict[str, Any]:
    """Remove tags from a collection."""
    collections.remove_tags(context.db, _named(context, data).id, tag_names(data["tags"]))
    return {"success": True}


def _named(context: Context, data: Input) -> Collection:
    name = data["artifact_collection_name"]
    return context.view.collection_named(data["entity_name"], data["project_name"], name)
