"""Nodes: collections, their aliases, and the memberships of versions in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import files as file_nodes
from wandb_ckpt.server.graphql import filters as conditions
from wandb_ckpt.server.graphql.nodes import artifact_fields as artifact_nodes
from wandb_ckpt.server.graphql.nodes import project_fields as project_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect, connect_all
from wandb_ckpt.server.store import collections
from wandb_ckpt.server.store.records import Alias, Collection, Membership, Tag
from wandb_ckpt.server.versions.lookup import find_in_collection

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = [
    "AliasNode",
    "CollectionNode",
    "MembershipNode",
    "PortfolioNode",
    "SequenceNode",
    "filtered",
    "filtered_memberships",
    "node_of",
    "tag_node",
]


def tag_node(tag: Tag) -> dict[str, Any]:
    """`Tag`."""
    return {"id": ids.encode("Tag", tag.id), "name": tag.name}


class AliasNode:
    """`ArtifactAlias`."""

    typename = "ArtifactAlias"

    def __init__(self, context: Context, alias: Alias) -> None:
        self._context = context
        self._alias = alias
        self.id = ids.encode("ArtifactAlias", alias.id)
        self.alias = alias.alias

    def artifact_collection(self) -> CollectionNode:
        """Where the alias holds."""
        return node_of(self._context, self._context.collection_of(self._alias.collection_id))


class CollectionNode:
    """What `ArtifactSequence` and `ArtifactPortfolio` share."""

    typename = "ArtifactCollection"

    def __init__(self, context: Context, record: Collection) -> None:
        self._context = context
        self.record = record
        self.id = ids.encode(self.typename, record.id)
        self.kind = record.kind
        self.name = record.name
        self.description = record.description
        self.state = record.state
        self.created_at = record.created_at
        self.updated_at = record.updated_at

    def project(self) -> project_nodes.ProjectNode:
        """The project."""
        return project_nodes.ProjectNode(self._context, self._context.project_of(self.record.project_id))

    def default_artifact_type(self) -> project_nodes.ArtifactTypeNode:
        """The type of all versions in it."""
        return project_nodes.ArtifactTypeNode(self._context, self._context.type_of(self.record.type_id))

    def tags(self) -> dict[str, Any]:
        """The collection's own tags."""
        found = collections.tags(self._context.db, self.record.id)
        return {"edges": [{"node": tag_node(tag)} for tag in found]}

    def aliases(self, after: str | None = None, first: int | None = None) -> Connection:
        """The aliases of all its versions."""
        found = collections.aliases(self._context.db, self.record.id)
        return connect_all([AliasNode(self._context, alias) for alias in found], first=first, after=after)

    def artifacts(
        self,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> Connection:
        """The versions that meet a condition, newest first."""
        listing = _Listing(self._context, self.record, filters, order)
        return listing.page(first, after, as_artifacts=True)

    def artifact_memberships(self, after: str | None = None, first: int | None = None) -> Connection:
        """The memberships, newest first."""
        return _Listing(self._context, self.record, None, None).page(first, after, as_artifacts=False)

    def artifact_membership(self, alias_name: str) -> MembershipNode | None:
        """One version by alias or `vN`."""
        found = find_in_collection(self._context.db, self.record.id, alias_name)
        return None if found is None else MembershipNode(self._context, found)


class SequenceNode(CollectionNode):
    """`ArtifactSequence`: owns its versions."""

    typename = "ArtifactSequence"

    def latest_artifact(self) -> artifact_nodes.ArtifactNode | None:
        """The version with the highest number."""
        found = collections.latest_membership(self._context.db, self.record.id)
        return None if found is None else MembershipNode(self._context, found).artifact()

    def digest_algorithm(self) -> str:
        """How the newest version was hashed: the client keeps to it."""
        latest = self.latest_artifact()
        return latest.digest_algorithm if latest else "MANIFEST_MD5"


class PortfolioNode(CollectionNode):
    """`ArtifactPortfolio`: links to versions of sequences."""

    typename = "ArtifactPortfolio"


def node_of(context: Context, record: Collection) -> CollectionNode:
    """The node of a collection, by its kind."""
    kind = SequenceNode if record.kind == "SEQUENCE" else PortfolioNode
    return kind(context, record)


class MembershipNode:
    """`ArtifactCollectionMembership`."""

    typename = "ArtifactCollectionMembership"

    def __init__(self, context: Context, record: Membership) -> None:
        self._context = context
        self.record = record
        self.id = ids.encode("ArtifactCollectionMembership", record.id)
        self.version_index = record.version_index
        self.created_at = record.created_at

    def aliases(self) -> list[AliasNode]:
        """The version's aliases in this collection."""
        found = collections.aliases_of_artifact(self._context.db, self.record.artifact_id)
        here = [alias for alias in found if alias.membership_id == self.record.id]
        return [AliasNode(self._context, alias) for alias in here]

    def artifact_collection(self) -> CollectionNode:
        """The collection."""
        return node_of(self._context, self._context.collection_of(self.record.collection_id))

    def artifact(self) -> artifact_nodes.ArtifactNode:
        """The version itself."""
        found = self._context.artifact_of(self.record.artifact_id)
        return artifact_nodes.ArtifactNode(self._context, found)

    def files(self, names: list[str] | None = None, after: str | None = None, first: int | None = None) -> Connection:
        """The version's files."""
        return file_nodes.files_of_artifact(self._context, self.record.artifact_id, names, after, first)


class _Listing:
    """The versions of a collection that meet a condition, to be read in pages."""

    def __init__(self, context: Context, collection: Collection, filters: str | None, order: str | None) -> None:
        self._context = context
        self._collection = collection
        field, self._downwards = conditions.parse_order(order, "-version_index")
        self._nodes: list[MembershipNode] | None = None
        # Without a condition, and in order of their numbers, the page alone is read: collections can be long.
        if not _condition(filters) and field in _IN_ORDER:
            self._total = collections.count_memberships(context.db, collection.id)
        else:
            self._nodes = filtered_memberships(context, collection, filters, order)
            self._total = len(self._nodes)

    def page(self, first: int | None, after: str | None, *, as_artifacts: bool) -> Connection:
        """One page, of versions or of their memberships."""

        def window(limit: int, offset: int) -> Sequence[Any]:
            nodes = self._window(limit, offset)
            return [node.artifact().seen_in(node.version_index) for node in nodes] if as_artifacts else nodes

        return connect(lambda: self._total, window, first=first, after=after, version=_version_name)

    def _window(self, limit: int, offset: int) -> Sequence[MembershipNode]:
        if self._nodes is not None:
            return self._nodes[offset : offset + limit]
        found = collections.memberships(
            self._context.db, self._collection.id, newest_first=self._downwards, limit=limit, offset=offset
        )
        return [MembershipNode(self._context, each) for each in found]


_IN_ORDER = frozenset({"version_index", "versionIndex", "created_at", "createdAt"})


def _condition(filters: str | None) -> dict[str, Any]:
    # Every client asks for complete versions, and only complete ones are members.
    return {key: value for key, value in conditions.parse(filters).items() if (key, value) != ("state", "COMMITTED")}


def _version_name(node: Any) -> str:
    index = node.shown_index if isinstance(node, artifact_nodes.ArtifactNode) else node.version_index
    return f"v{index}"


def filtered_memberships(
    context: Context, collection: Collection, filters: str | None, order: str | None
) -> list[MembershipNode]:
    """The versions of a collection that meet a condition, in the order asked for."""
    condition = conditions.parse(filters)
    field, downwards = conditions.parse_order(order, "-version_index")
    nodes = [MembershipNode(context, each) for each in collections.memberships(context.db, collection.id)]
    found = [node for node in nodes if conditions.matches(condition, _membership_lookup(node))]
    return list(conditions.sort(found, lambda node: _membership_lookup(node)(field), downwards=downwards))


def _membership_lookup(node: MembershipNode) -> conditions.Lookup:
    def look(field: str) -> Any:
        if field in {"version_index", "versionIndex"}:
            return node.version_index
        if field in {"alias", "aliases"}:
            return [alias.alias for alias in node.aliases()]
        return node.artifact().lookup(field)

    return look


def filtered(
    context: Context, records: Sequence[Collection], filters: str | None, order: str | None
) -> list[CollectionNode]:
    """The collections among the given ones that meet a condition, in the order asked for."""
    condition = conditions.parse(filters)
    nodes = [node_of(context, each) for each in records]
    found = [node for node in nodes if conditions.matches(condition, _collection_lookup(node))]
    field, downwards = conditions.parse_order(order, "created_at")
    return list(conditions.sort(found, lambda node: _collection_lookup(node)(field), downwards=downwards))


def _collection_lookup(node: CollectionNode) -> conditions.Lookup:
    def look(field: str) -> Any:
        match field:
            case "name" | "description" | "state":
                return getattr(node, field)
            case "created_at" | "createdAt":
                return node.created_at
            case "updated_at" | "updatedAt":
                return node.updated_at
            case "type":
                return node.default_artifact_type().name
            case "tag" | "tags":
                return [edge["node"]["name"] for edge in node.tags()["edges"]]
        return None

    return look
