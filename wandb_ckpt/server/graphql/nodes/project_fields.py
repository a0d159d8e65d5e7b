"""The fields of projects and artifact types."""

from __future__ import annotations

from operator import attrgetter

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import listings
from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.store import collections, projects, runs
from wandb_ckpt.server.store.records import Artifact, ArtifactType, Collection, Membership, Project, Run, User

__all__ = ["ArtifactTypeFields", "ProjectFields"]


class ProjectFields(Fields[Project]):
    """`Project`."""

    views = None
    is_benchmark = read_only = False
    allow_all_artifact_types_in_registry = property(attrgetter("source.allow_all_types"))

    def internal_id(self) -> str:
        """A second id, which the client asks for."""
        return ids.encode("ProjectInternalId", self.source.id)

    def user(self) -> User:
        """The owner."""
        return self.view.user_of(self.source.user_id)

    entity = user

    def entity_name(self) -> str:
        """The name of the entity."""
        return self.user().name

    def run(self, name: str, desc: str | None = None) -> Run | None:  # noqa: ARG002 (an argument of the schema)
        """A run by its W&B run id."""
        return runs.named(self.db, self.source.id, name)

    def bucket(self, name: str, missing_ok: bool | None = None) -> Run | None:  # noqa: ARG002
        """A run by its W&B run id."""
        return self.run(name)

    def runs(self, filters: str | None = None, order: str | None = None) -> list[Run]:
        """The runs that match, newest first by default."""
        return listings.runs(self.context, self.source.id, filters, order)

    def run_count(self, filters: str | None = None) -> int:
        """How many runs match."""
        return len(self.runs(filters))

    def artifact(self, name: str) -> Artifact | None:
        """A version by "name", "name:alias" or "name:vN"."""
        found = self.artifact_collection_membership(name)
        return None if found is None else self.view.artifact_of(found.artifact_id)

    def artifact_type(self, name: str) -> ArtifactType | None:
        """An artifact type by name."""
        return projects.artifact_type_named(self.db, self.source.id, name)

    def artifact_types(self, include_all: bool | None = None) -> list[ArtifactType]:  # noqa: ARG002
        """The artifact types."""
        return projects.artifact_types(self.db, self.source.id)

    def artifact_collection(self, name: str) -> Collection | None:
        """A collection by name."""
        return collections.named(self.db, self.source.id, name)

    def artifact_collections(self, filters: str | None = None, order: str | None = None) -> list[Collection]:
        """The collections that match."""
        return listings.collections(self.context, collections.in_project(self.db, self.source.id), filters, order)

    def artifact_collection_membership(self, name: str) -> Membership | None:
        """A version in its collection by "name", "name:alias" or "name:vN". The default is the latest."""
        base, _, alias = name.partition(":")
        collection = self.artifact_collection(base)
        if collection is None:
            return None
        return collections.membership_named(self.db, collection.id, alias or "latest")


class ArtifactTypeFields(Fields[ArtifactType]):
    """`ArtifactType`."""

    def artifact_collection(self, name: str) -> Collection | None:
        """A collection of this type by name."""
        found = collections.named(self.db, self.source.project_id, name)
        return found if found and found.type_id == self.source.id else None

    def artifact_collections(self, filters: str | None = None, order: str | None = None) -> list[Collection]:
        """The collections of this type that match."""
        in_project = collections.in_project(self.db, self.source.project_id)
        of_type = [each for each in in_project if each.type_id == self.source.id]
        return listings.collections(self.context, of_type, filters, order)
