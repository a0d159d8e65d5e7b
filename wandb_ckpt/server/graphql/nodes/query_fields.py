"""Queries: the roots of the reading side."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.nodes.artifact_fields import ArtifactNode
from wandb_ckpt.server.graphql.nodes.collection_fields import CollectionNode, node_of
from wandb_ckpt.server.graphql.nodes.project_fields import ProjectNode, filtered
from wandb_ckpt.server.graphql.nodes.user_fields import EntityNode, OrganizationNode, UserNode, server_info
from wandb_ckpt.server.graphql.paging import Connection, connect_all
from wandb_ckpt.server.store import artifacts, projects

__all__ = ["QUERIES"]


def viewer(context: Context) -> UserNode:
    """Who asks."""
    return UserNode(context, context.user)


def entity(context: Context, name: str | None = None) -> EntityNode | None:
    """The user's own entity by name."""
    return EntityNode(context, context.user) if not name or name == context.user.name else None


def organization(context: Context, name: str | None = None) -> OrganizationNode | None:
    """The user's own organization by name."""
    return OrganizationNode(context, context.user) if name == context.user.name else None


def users(context: Context, query: str | None = None) -> dict[str, Any]:
    """The user alone, if the text is a part of its name or address: accounts do not see each other."""
    node = viewer(context)
    nodes = [node] if query and (query in node.name or query in node.email) else []
    return {"edges": [{"node": each} for each in nodes]}


def project(context: Context, name: str | None = None, entity_name: str | None = None) -> ProjectNode | None:
    """A project by its place."""
    found = context.find_project(entity_name, name)
    return None if found is None else ProjectNode(context, found)


def models(
    context: Context, entity_name: str | None = None, after: str | None = None, first: int | None = None
) -> Connection:
    """The projects of the user's own entity."""
    mine = not entity_name or entity_name == context.user.name
    nodes = filtered(context, projects.of_user(context.db, context.user.id), None, None) if mine else []
    return connect_all(nodes, first=first, after=after)


def artifact(context: Context, id: str) -> ArtifactNode | None:  # noqa: A002 (the argument's name in W&B's schema)
    """An artifact by its id."""
    try:
        return ArtifactNode(context, context.artifact(id))
    except NotFoundError:
        return None


def artifact_collection(context: Context, id: str) -> CollectionNode | None:  # noqa: A002
    """A collection by its id."""
    try:
        return node_of(context, context.collection(id))
    except NotFoundError:
        return None


def client_id_mapping(context: Context, client_id: str) -> dict[str, Any] | None:
    """The artifact that a client made under an id of its own."""
    found = artifacts.of_client_id(context.db, context.user.id, client_id)
    return {"server_id": ids.encode("Artifact", found.id)} if found else None


QUERIES = {
    "viewer": viewer,
    "serverInfo": lambda _: server_info(),
    "entity": entity,
    "organization": organization,
    "users": users,
    "project": project,
    "model": project,
    "models": models,
    "artifact": artifact,
    "artifactCollection": artifact_collection,
    "clientIDMapping": client_id_mapping,
}
