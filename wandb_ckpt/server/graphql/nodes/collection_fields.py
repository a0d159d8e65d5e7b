"""The fields of collections, their aliases, and the memberships of versions in them."""

from __future__ import annotations

from wandb_ckpt.server.graphql import listings
from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.graphql.files import files_of_version
from wandb_ckpt.server.graphql.paging import Edge, Listing
from wandb_ckpt.server.store import collections
from wandb_ckpt.server.store.records import Alias, Artifact, ArtifactType, Collection, Membership, Project, Tag

__all__ = ["AliasFields", "CollectionFields", "MembershipFields", "VersionedEdgeFields"]


class CollectionFields(Fields[Collection]):
    """`ArtifactSequence` and `ArtifactPortfolio`."""

    def project(self) -> Project:
        """The project."""
        return self.view.project_of(self.source.project_id)

    def default_artifact_type(self) -> ArtifactType:
        """The type of all versions in the collection."""
        return self.view.type_of(self.source.type_id)

    def tags(self) -> list[Tag]:
        """The tags of the collection itself."""
        return collections.tags(self.db, self.source.id)

    def aliases(self) -> list[Alias]:
        """The aliases of all versions."""
        return collections.aliases(self.db, self.source.id)

    def artifacts(self, order: str | None = None, filters: str | None = None) -> Listing | list[Membership]:
        """The versions that match, newest first by default."""
        return listings.versions(self.context, self.source.id, filters, order)

    def artifact_memberships(self) -> Listing | list[Membership]:
        """All memberships, newest first."""
        return self.artifacts()

    def artifact_membership(self, alias_name: str) -> Membership | None:
        """A version by alias or `vN`."""
        return collections.membership_named(self.db, self.source.id, alias_name)

    def latest_artifact(self) -> Artifact | None:
        """The version with the highest number."""
        found = collections.latest_membership(self.db, self.source.id)
        return None if found is None else self.view.artifact_of(found.artifact_id)

    def digest_algorithm(self) -> str:
        """The algorithm of the newest version. The client uses it for the next one."""
        latest = self.latest_artifact()
        return latest.digest_algorithm if latest else "MANIFEST_MD5"


class VersionedEdgeFields(Fields[Edge]):
    """`VersionedArtifactEdge`: a membership, shown as its version."""

    def node(self) -> Artifact:
        """The version."""
        return self.view.artifact_of(self.source.node.artifact_id)

    def version(self) -> str:
        """Its name in the collection."""
        return f"v{self.source.node.version_index}"


class MembershipFields(Fields[Membership]):
    """`ArtifactCollectionMembership`."""

    def aliases(self) -> list[Alias]:
        """The aliases of the version in this collection."""
        found = collections.aliases_of_artifact(self.db, self.source.artifact_id)
        return [alias for alias in found if alias.membership_id == self.source.id]

    def artifact_collection(self) -> Collection:
        """The collection."""
        return self.view.collection_of(self.source.collection_id)

    def artifact(self) -> Artifact:
        """The version."""
        return self.view.artifact_of(self.source.artifact_id)

    def files(self, names: list[str] | None = None) -> Listing:
        """The files of the version."""
        return files_of_version(self.context, self.source.artifact_id, names)


class AliasFields(Fields[Alias]):
    """`ArtifactAlias`."""

    def artifact_collection(self) -> Collection:
        """The collection in which the alias is valid."""
        return self.view.collection_of(self.source.collection_id)
