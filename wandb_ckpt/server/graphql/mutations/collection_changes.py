"""Mutations: aliases, links, and collections themselves."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ConflictError, InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.version_changes import Input, get_or_create_collection, tag_names
from wandb_ckpt.server.graphql.nodes.collection_fields import MembershipNode, node_of, tag_node
from wandb_ckpt.server.names import check_alias, check_collection_name, check_type_name
from wandb_ckpt.server.store import artifacts, collections, projects
from wandb_ckpt.server.store.records import Artifact, Collection, Membership, Project
from wandb_ckpt.server.versions import aliases as aliasing
from wandb_ckpt.server.versions.removal import delete_version

__all__ = ["MUTATIONS"]


def add_aliases(context: Context, data: Input) -> dict[str, Any]:
    """Put aliases on a version, taking each from the one that had it."""
    return _change_aliases(context, data, aliasing.put)


def delete_aliases(context: Context, data: Input) -> dict[str, Any]:
    """Take aliases off a version."""
    return _change_aliases(context, data, collections.remove_alias)


def _change_aliases(context: Context, data: Input, change: Any) -> dict[str, Any]:
    artifact = context.committed(data["artifact_id"])
    with context.db.atomic():
        for each in data["aliases"]:
            place = _place(context, artifact, each)
            change(context.db, place, check_alias(each["alias"]))
            collections.touch(context.db, place.collection_id)
        artifacts.touch(context.db, artifact.id)
    return {"success": True}


def _place(context: Context, artifact: Artifact, alias: Input) -> Membership:
    name = alias["artifact_collection_name"]
    collection = context.collection_named(alias["entity_name"], alias["project_name"], name)
    place = collections.membership_of(context.db, collection.id, artifact.id)
    if place is None:
        raise NotFoundError(f"The version is not in the collection {name!r}, so it can't have an alias there.")
    return place


# Links


def link_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Link a version into a portfolio, which is made on demand; linking it again moves the aliases only."""
    artifact = _linked_artifact(context, data)
    aliases = [check_alias(each["alias"]) for each in data.get("aliases") or []]
    with context.db.atomic(durable=True):
        portfolio = _portfolio(context, data, artifact)
        place = collections.add_membership(context.db, portfolio.id, artifact.id)
        aliasing.make_latest(context.db, place, aliases)
    context.forget()
    return {"version_index": place.version_index, "artifact_membership": MembershipNode(context, place)}


def _linked_artifact(context: Context, data: Input) -> Artifact:
    artifact_id, client_id = data.get("artifact_id"), data.get("client_id")
    if artifact_id:
        return context.committed(artifact_id)
    known = artifacts.of_client_id(context.db, context.user.id, client_id) if client_id else None
    if known is None:
        raise NotFoundError("The artifact to link was not found: give the id of a logged one.")
    return context.committed(ids.encode("Artifact", known.id))


def _portfolio(context: Context, data: Input, artifact: Artifact) -> Collection:
    if data.get("artifact_portfolio_id"):
        return context.collection(data["artifact_portfolio_id"], "PORTFOLIO")
    project = context.project_on_demand(data.get("entity_name"), data.get("project_name"))
    type_name = context.type_of(context.collection_of(artifact.collection_id).type_id).name
    _check_accepted(context, project, type_name)
    name = data.get("artifact_portfolio_name") or ""
    return get_or_create_collection(context, project, name, type_name, "PORTFOLIO")


def _check_accepted(context: Context, project: Project, type_name: str) -> None:
    if project.allow_all_types or projects.artifact_type_named(context.db, project.id, type_name):
        return
    accepted = ", ".join(each.name for each in projects.artifact_types(context.db, project.id)) or "none yet"
    raise ConflictError(
        f"The registry {project.name!r} does not take artifacts of the type {type_name!r}: it takes {accepted}. "
        "Add the type to the registry, or link to another one."
    )


def unlink_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Take a version out of a portfolio."""
    artifact = context.artifact(data["artifact_id"])
    portfolio = context.collection(data["artifact_portfolio_id"])
    if portfolio.id == artifact.collection_id:
        raise InvalidRequestError("A version can't be unlinked from the collection that it was logged to: delete it.")
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
    return _update(context, context.collection(data["artifact_sequence_id"], "SEQUENCE"), data)


def update_artifact_portfolio(context: Context, data: Input) -> dict[str, Any]:
    """Rename or describe a portfolio."""
    return _update(context, context.collection(data["artifact_portfolio_id"], "PORTFOLIO"), data)


def _update(context: Context, collection: Collection, data: Input) -> dict[str, Any]:
    name = data.get("name")
    with context.db.atomic():
        if name is not None and name != collection.name:
            check_collection_name(name)
            if collections.named(context.db, collection.project_id, name):
                raise ConflictError(f"There is an artifact collection {name!r} already. Choose another name.")
        collections.update(context.db, collection.id, name=name, description=data.get("description"))
    return _collection_payload(context, collection.id)


def _collection_payload(context: Context, collection_id: int) -> dict[str, Any]:
    context.forget()
    return {"artifact_collection": node_of(context, context.collection_of(collection_id))}


def move_artifact_sequence(context: Context, data: Input) -> dict[str, Any]:
    """Give a sequence another artifact type."""
    sequence = context.collection(data["artifact_sequence_id"], "SEQUENCE")
    name = check_type_name(data["destination_artifact_type_name"])
    with context.db.atomic():
        artifact_type = projects.get_or_create_type(context.db, sequence.project_id, name)
        collections.change_type(context.db, sequence.id, artifact_type.id)
    return _collection_payload(context, sequence.id)


def delete_artifact_sequence(context: Context, data: Input) -> dict[str, Any]:
    """Delete a sequence with all its versions."""
    sequence = context.collection(data["artifact_sequence_id"], "SEQUENCE")
    with context.db.atomic(durable=True):
        for place in collections.memberships(context.db, sequence.id):
            artifact = artifacts.artifact(context.db, place.artifact_id)
            assert artifact is not None
            delete_version(context.db, artifact)
        collections.delete(context.db, sequence.id)
    return _collection_payload(context, sequence.id)


def delete_artifact_portfolio(context: Context, data: Input) -> dict[str, Any]:
    """Delete a portfolio; the versions that it linked to stay."""
    portfolio = context.collection(data["artifact_portfolio_id"], "PORTFOLIO")
    with context.db.atomic(durable=True):
        collections.delete(context.db, portfolio.id)
    return _collection_payload(context, portfolio.id)


def create_artifact_collection_tag_assignments(context: Context, data: Input) -> dict[str, Any]:
    """Tag a collection."""
    collection = _named(context, data)
    names = tag_names(data["tags"])
    collections.add_tags(context.db, collection.id, names)
    found = collections.tags(context.db, collection.id)
    return {"tags": [tag_node(tag) for tag in found if tag.name in names]}


def delete_artifact_collection_tag_assignments(context: Context, data: Input) -> dict[str, Any]:
    """Take tags off a collection."""
    collections.remove_tags(context.db, _named(context, data).id, tag_names(data["tags"]))
    return {"success": True}


def _named(context: Context, data: Input) -> Collection:
    return context.collection_named(data["entity_name"], data["project_name"], data["artifact_collection_name"])


MUTATIONS = {
    "addAliases": add_aliases,
    "deleteAliases": delete_aliases,
    "linkArtifact": link_artifact,
    "unlinkArtifact": unlink_artifact,
    "updateArtifactSequence": update_artifact_sequence,
    "updateArtifactPortfolio": update_artifact_portfolio,
    "moveArtifactSequence": move_artifact_sequence,
    "deleteArtifactSequence": delete_artifact_sequence,
    "deleteArtifactPortfolio": delete_artifact_portfolio,
    "createArtifactCollectionTagAssignments": create_artifact_collection_tag_assignments,
    "deleteArtifactCollectionTagAssignments": delete_artifact_collection_tag_assignments,
}
