"""Nodes: versions of artifacts and their manifests."""

# ruff: noqa: ARG002 (the schema names arguments that this server needs not)
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import files as file_nodes
from wandb_ckpt.server.graphql.nodes import collection_fields as collection_nodes
from wandb_ckpt.server.graphql.nodes import project_fields as project_nodes
from wandb_ckpt.server.graphql.nodes import run_fields as run_nodes
from wandb_ckpt.server.graphql.nodes import user_fields as account_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect_all
from wandb_ckpt.server.store import artifacts, collections, contents
from wandb_ckpt.server.store.records import Artifact

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = ["TTL_INHERITED", "ArtifactNode", "manifest_path"]

TTL_INHERITED = -1
_TTL_DISABLED = -2


def manifest_path(user_id: int, artifact_id: int) -> str:
    """Where the manifest of a version is in storage."""
    return f"artifact_manifests/{user_id}/{artifact_id}/wandb_manifest.json"


class ArtifactNode:
    """`Artifact`."""

    typename = "Artifact"

    def __init__(self, context: Context, record: Artifact) -> None:
        self._context = context
        self.record = record
        self.shown_index: int | None = None
        self.id = ids.encode("Artifact", record.id)
        self.description = record.description
        self.metadata = record.metadata
        self.ttl_duration_seconds = _ttl(record)
        self.ttl_is_inherited = record.ttl_seconds in {None, TTL_INHERITED}
        self.history_step = record.history_step
        self.state = record.state
        self.size = record.size
        self.digest = record.digest
        self.digest_algorithm = record.digest_algorithm
        self.commit_hash = record.commit_hash
        self.file_count = record.file_count
        self.created_at = record.created_at
        self.updated_at = record.updated_at

    def seen_in(self, version_index: int) -> ArtifactNode:
        """The same node, knowing its number in the collection that is being listed."""
        self.shown_index = version_index
        return self

    def artifact_sequence(self) -> collection_nodes.CollectionNode:
        """The sequence that owns the version."""
        record = self._context.collection_of(self.record.collection_id)
        return collection_nodes.node_of(self._context, record)

    def version_index(self) -> int | None:
        """N in `vN`; None until it is complete."""
        found = collections.membership_of(self._context.db, self.record.collection_id, self.record.id)
        return None if found is None else found.version_index

    def artifact_type(self) -> project_nodes.ArtifactTypeNode:
        """The type."""
        sequence = self._context.collection_of(self.record.collection_id)
        return project_nodes.ArtifactTypeNode(self._context, self._context.type_of(sequence.type_id))

    def tags(self) -> list[dict[str, Any]]:
        """The version's own tags."""
        return [collection_nodes.tag_node(tag) for tag in artifacts.tags(self._context.db, self.record.id)]

    def aliases(self) -> list[collection_nodes.AliasNode]:
        """The version's aliases in all its collections."""
        found = collections.aliases_of_artifact(self._context.db, self.record.id)
        return [collection_nodes.AliasNode(self._context, alias) for alias in found]

    def artifact_memberships(self, after: str | None = None, first: int | None = None) -> Connection:
        """The version's places in its own and other collections."""
        found = collections.memberships_of_artifact(self._context.db, self.record.id)
        nodes = [collection_nodes.MembershipNode(self._context, each) for each in found]
        return connect_all(nodes, first=first, after=after)

    def current_manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete version."""
        if self.record.manifest_blob is None:
            return None
        path = manifest_path(self.record.user_id, self.record.id)
        node_id = ids.encode("ArtifactManifest", self.record.id)
        file = file_nodes.FileNode(node_id, "wandb_manifest.json", 0, self._context.urls.read(path), path)
        return {"id": node_id, "digest": self.record.digest, "file": file}

    def files(self, names: list[str] | None = None, after: str | None = None, first: int | None = None) -> Connection:
        """The version's files."""
        return file_nodes.files_of_artifact(self._context, self.record.id, names, after, first)

    def files_by_manifest_entries(
        self,
        storage_layout: str,
        manifest_version: str,
        entries: list[dict[str, Any]] | None = None,
        storage_region: str | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> Connection:
        """The version's files that the client knows from its manifest."""
        names = [entry["name"] for entry in entries or []]
        found = [contents.entry(self._context.db, self.record.id, name) for name in names]
        nodes = [file_nodes.FileNode.of_entry(self._context, self.record, entry) for entry in found if entry]
        return connect_all(nodes, first=first, after=after)

    def created_by(self) -> run_nodes.RunNode | account_nodes.UserNode | None:
        """The run that logged the version, else its user."""
        if self.record.run_id is not None and (run := self._context.run_of(self.record.run_id)):
            return run_nodes.RunNode(self._context, run)
        return account_nodes.UserNode(self._context, self._context.user_of(self.record.user_id))

    def used_by(self, after: str | None = None, first: int | None = None) -> Connection:
        """The runs that used the version."""
        found = artifacts.used_by(self._context.db, self.record.id)
        return connect_all([run_nodes.RunNode(self._context, run) for run in found], first=first, after=after)

    def lookup(self, field: str) -> Any:
        """A field by its dotted name, for filters and orders."""
        match field:
            case "state" | "digest" | "size" | "description":
                return getattr(self, field)
            case "created_at" | "createdAt":
                return self.created_at
            case "updated_at" | "updatedAt":
                return self.updated_at
            case "tag" | "tags":
                return [tag["name"] for tag in self.tags()]
        if field.startswith("metadata."):
            return _inner(json.loads(self.metadata or "{}"), field.split(".")[1:])
        return None


def _ttl(record: Artifact) -> int:
    return _TTL_DISABLED if record.ttl_seconds in {None, TTL_INHERITED} else record.ttl_seconds or _TTL_DISABLED


def _inner(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
