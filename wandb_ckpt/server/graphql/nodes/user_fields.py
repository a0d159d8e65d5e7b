"""Nodes: users, entities, organizations and what the server says of itself."""

# ruff: noqa: ARG002 (the schema names arguments that this server needs not)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import filters
from wandb_ckpt.server.graphql.nodes import collection_fields as collection_nodes
from wandb_ckpt.server.graphql.nodes import project_fields as project_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect_all
from wandb_ckpt.server.store import accounts, collections, projects
from wandb_ckpt.server.store.records import Project, User

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = ["FEATURES", "EntityNode", "OrganizationNode", "UserNode", "server_info"]

# Each turns on a path of the client that this server implements. The names behind the blank line are asked for by
# clients up to 0.28 only.
FEATURES = (
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_DIGEST_ALGORITHM",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "FILESTREAM_GZIP",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "MARK_RUN_FILES_UPLOADED",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "LARGE_FILENAMES",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
)


_REGISTRY = "wandb-registry-"


def server_info() -> dict[str, Any]:
    """What the server says of itself. It never asks for another client version."""
    return {
        "cli_version_info": {"min_cli_version": "0.0.1", "max_cli_version": "99.0.0"},
        "latest_local_version_info": None,
        "features": [{"name": name, "is_enabled": True} for name in FEATURES],
    }


class UserNode:
    """`User`: only ever the one who asks."""

    typename = "User"

    def __init__(self, context: Context, user: User) -> None:
        self._context = context
        self._user = user
        self.id = ids.encode("User", user.id)
        self.name = self.username = self.entity = user.name
        self.email = f"{user.name}@localhost"
        self.admin = False
        self.flags = "{}"
        self.deleted_at = None
        self.photo_url = None

    def api_keys(self) -> dict[str, Any]:
        """The keys, each without the key itself."""
        keys = accounts.keys(self._context.db, self._user.id)
        nodes = [
            {"id": ids.encode("ApiKey", key.id), "name": key.name, "description": key.description} for key in keys
        ]
        return {"edges": [{"node": node} for node in nodes]}

    def teams(self) -> dict[str, Any]:
        """The user's own entity stands for a team of one."""
        return {"edges": [{"node": EntityNode(self._context, self._user)}]}

    def organizations(self) -> list[OrganizationNode]:
        """The user's own organization."""
        return [OrganizationNode(self._context, self._user)]


class EntityNode:
    """`Entity`: a user as the owner of projects."""

    typename = "Entity"

    def __init__(self, context: Context, user: User) -> None:
        self._context = context
        self._user = user
        self.id = ids.encode("Entity", user.id)
        self.name = user.name
        self.available = False
        self.photo_url = None
        self.read_only = self.read_only_admin = False
        self.is_team = False
        self.entity_type = "user"
        self.private_only = False
        self.storage_bytes = 0
        self.code_saving_enabled = False
        self.default_access = "PRIVATE"
        self.is_paid = False
        self.limits = None
        self.xxhash_digests_enabled = True

    def members(self) -> list[dict[str, Any]]:
        """The user alone."""
        user = UserNode(self._context, self._user)
        member = {"id": user.id, "admin": True, "role": "admin", "pending": False, "email": user.email}
        return [
            {
                **member,
                "username": user.name,
                "name": user.name,
                "photo_url": None,
                "account_type": "USER",
                "api_key": None,
            }
        ]

    def user(self) -> UserNode:
        """The user."""
        return UserNode(self._context, self._user)

    def organization(self) -> OrganizationNode:
        """The entity's organization."""
        return OrganizationNode(self._context, self._user)

    def project(self, name: str | None = None) -> project_nodes.ProjectNode | None:
        """One project by name."""
        found = self._context.find_project(self._user.name, name)
        return None if found is None else project_nodes.ProjectNode(self._context, found)

    def projects(
        self,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The projects that meet a condition, newest first."""
        nodes = project_nodes.filtered(self._context, self._projects(), filters, order)
        return connect_all(nodes, first=first, after=after)

    def artifact_collections(
        self,
        project_filters: str | None = None,
        filters: str | None = None,
        collection_types: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The collections of all projects that meet a condition."""
        nodes = self._collections(project_filters, filters, order)
        wanted = [node for node in nodes if not collection_types or node.kind in collection_types]
        return connect_all(wanted, first=first, after=after)

    def artifact_memberships(
        self,
        project_filters: str | None = None,
        collection_filters: str | None = None,
        filters: str | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        """The versions in all collections of all projects that meet a condition."""
        nodes = [
            node
            for collection in self._collections(project_filters, collection_filters, order)
            for node in collection_nodes.filtered_memberships(self._context, collection.record, filters, None)
        ]
        return connect_all(nodes, first=first, after=after)

    def _projects(self) -> list[Project]:
        return projects.of_user(self._context.db, self._user.id)

    def _collections(
        self, project_filters: str | None, condition: str | None, order: str | None
    ) -> list[collection_nodes.CollectionNode]:
        return [
            node
            for project in self._projects()
            if filters.matches(filters.parse(project_filters), project_nodes.lookup(project))
            for node in collection_nodes.filtered(
                self._context, collections.in_project(self._context.db, project.id), condition, order
            )
        ]


class OrganizationEntityNode(EntityNode):
    """`Entity`: the same user as the owner of registries, which W&B keeps apart from other projects."""

    def __init__(self, context: Context, user: User) -> None:
        super().__init__(context, user)
        self.entity_type = "organization"

    def _projects(self) -> list[Project]:
        return [project for project in super()._projects() if project.name.startswith(_REGISTRY)]


class OrganizationNode:
    """`Organization`: on one machine, every entity is one of its own."""

    typename = "Organization"

    def __init__(self, context: Context, user: User) -> None:
        self._context = context
        self._user = user
        self.id = ids.encode("Organization", user.id)
        self.name = user.name
        self.core_weave_organization_id = None
        self.advanced_registry_features = {"advanced_search": False}

    def org_entity(self) -> OrganizationEntityNode:
        """The entity that owns the registries."""
        return OrganizationEntityNode(self._context, self._user)

    def feature_flags(self, ramp_id_type: str | None = None) -> list[Any]:
        """No flags."""
        return []
