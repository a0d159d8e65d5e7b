"""Nodes: projects and artifact types."""

# ruff: noqa: ARG002 (the schema names arguments that this server needs not)
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import filters as conditions
from wandb_ckpt.server.graphql.nodes import artifact_fields as artifact_nodes
from wandb_ckpt.server.graphql.nodes import collection_fields as collection_nodes
from wandb_ckpt.server.graphql.nodes import run_fields as run_nodes
from wandb_ckpt.server.graphql.nodes import user_fields as account_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect_all
from wandb_ckpt.server.store import collections, projects, runs
from wandb_ckpt.server.store.records import ArtifactType, Project
from wandb_ckpt.server.versions.lookup import find_membership

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = ["ArtifactTypeNode", "ProjectNode", "filtered", "lookup"]


class ProjectNode:
    """`Project`."""

    typename = "Project"

    def __init__(self, context: Context, project: Project) -> None:
        self._context = context
        self._project = project
        self.id = ids.encode("Project", project.id)
        self.internal_id = ids.encode("ProjectInternalId", project.id)
        self.name = project.name
        self.description = project.description
        self.access = project.access
        self.views = None
        self.created_at = project.created_at
        self.updated_at = project.updated_at
        self.is_benchmark = False
        self.read_only = False
        self.allow_all_artifact_types_in_registry = bool(project.allow_all_types)

    @property
    def entity_name(self) -> str:
        """The entity's name."""
        return self._context.user_of(self._project.user_id).name

    def entity(self) -> account_nodes.EntityNode:
        """The entity."""
        return account_nodes.EntityNode(self._context, self._context.user_of(self._project.user_id))

    def user(self) -> account_nodes.UserNode:
        """Who made the project."""
        return account_nodes.UserNode(self._context, self._context.user_of(self._project.user_id))

    def run(self, name: str, desc: str | None = None) -> run_nodes.RunNode | None:
        """One run by its W&B id."""
        found = runs.named(self._context.db, self._project.id, name)
        return None if found is None else run_nodes.RunNode(self._context, found)

    def bucket(self, name: str, missing_ok: bool | None = None) -> run_nodes.RunNode | None:
        """One run by its W&B id."""
        return self.run(name)

    def runs(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The runs that meet a condition, newest first."""
        return connect_all(
            run_nodes.filtered(self._context, self._project.id, filters, order), first=first, after=after
        )

    def run_count(self, filters: str | None = None) -> int:
        """How many runs meet a condition."""
        return len(run_nodes.filtered(self._context, self._project.id, filters, None))

    def artifact(self, name: str) -> artifact_nodes.ArtifactNode | None:
        """One version by "name", "name:alias" or "name:vN"."""
        found = self.artifact_collection_membership(name)
        return None if found is None else found.artifact()

    def artifact_type(self, name: str) -> ArtifactTypeNode | None:
        """One artifact type by name."""
        found = projects.artifact_type_named(self._context.db, self._project.id, name)
        return None if found is None else ArtifactTypeNode(self._context, found)

    def artifact_types(
        self, after: str | None = None, first: int | None = None, include_all: bool | None = None
    ) -> Connection:
        """The artifact types."""
        found = projects.artifact_types(self._context.db, self._project.id)
        return connect_all([ArtifactTypeNode(self._context, each) for each in found], first=first, after=after)

    def artifact_collection(self, name: str) -> collection_nodes.CollectionNode | None:
        """One collection by name."""
        found = collections.named(self._context.db, self._project.id, name)
        return None if found is None else collection_nodes.node_of(self._context, found)

    def artifact_collections(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The collections that meet a condition."""
        found = collections.in_project(self._context.db, self._project.id)
        nodes = collection_nodes.filtered(self._context, found, filters, order)
        return connect_all(nodes, first=first, after=after)

    def artifact_collection_membership(self, name: str) -> collection_nodes.MembershipNode | None:
        """One version in its collection by "name", "name:alias" or "name:vN"."""
        found = find_membership(self._context.db, self._project.id, name)
        return None if found is None else collection_nodes.MembershipNode(self._context, found)


class ArtifactTypeNode:
    """`ArtifactType`."""

    typename = "ArtifactType"

    def __init__(self, context: Context, record: ArtifactType) -> None:
        self._context = context
        self._record = record
        self.id = ids.encode("ArtifactType", record.id)
        self.name = record.name
        self.description = record.description
        self.created_at = record.created_at

    def artifact_collection(self, name: str) -> collection_nodes.CollectionNode | None:
        """One collection of this type by name."""
        found = collections.named(self._context.db, self._record.project_id, name)
        if found is None or found.type_id != self._record.id:
            return None
        return collection_nodes.node_of(self._context, found)

    def artifact_collections(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The collections of this type that meet a condition."""
        in_project = collections.in_project(self._context.db, self._record.project_id)
        of_type = [each for each in in_project if each.type_id == self._record.id]
        nodes = collection_nodes.filtered(self._context, of_type, filters, order)
        return connect_all(nodes, first=first, after=after)


def lookup(project: Project) -> conditions.Lookup:
    """The fields of a project for filters and orders."""
    fields: dict[str, Any] = {
        "id": project.id,
        "entity_id": project.user_id,
        "name": project.name,
        "description": project.description,
        "created_at": project.created_at,
        "createdAt": project.created_at,
        "updated_at": project.updated_at,
        "updatedAt": project.updated_at,
    }
    return fields.get


def filtered(
    context: Context, candidates: Iterable[Project], filters: str | None, order: str | None
) -> list[ProjectNode]:
    """The projects that meet a condition, in the order asked for; by default newest first."""
    condition = conditions.parse(filters)
    field, downwards = conditions.parse_order(order, "-created_at")
    found = [each for each in candidates if conditions.matches(condition, lookup(each))]
    ordered = conditions.sort(found, lambda each: lookup(each)(field), downwards=downwards)
    return [ProjectNode(context, each) for each in ordered]
