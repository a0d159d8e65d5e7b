"""The fields of users, entities and organizations."""

from __future__ import annotations

import functools
from dataclasses import astuple, dataclass
from operator import attrgetter
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql import listings
from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.store import accounts, collections, projects
from wandb_ckpt.server.store.records import ApiKey, Collection, Membership, Project, User

__all__ = ["EntityFields", "OrganizationFields", "UserFields"]

_REGISTRY = "wandb-registry-"


def _email(user: User) -> str:
    return f"{user.name}@localhost"


class UserFields(Fields[User]):
    """`User`: always the user who sends the request."""

    username = entity = property(attrgetter("source.name"))
    admin = False
    flags = "{}"
    deleted_at = photo_url = None

    def email(self) -> str:
        """An address, because the client expects one."""
        return _email(self.source)

    def api_keys(self) -> list[ApiKey]:
        """The API keys, without their secrets."""
        return accounts.keys(self.db, self.source.id)

    def teams(self) -> list[User]:
        """The user's own entity, as a team of one."""
        return [self.source]

    def organizations(self) -> list[User]:
        """The user's own organization."""
        return [self.source]


@dataclass(frozen=True, slots=True)
class _RegistryOwner(User):
    """The entity of an organization. It owns the registries, which W&B keeps apart from other projects."""


class EntityFields(Fields[User]):
    """`Entity`: a user as the owner of projects."""

    available = read_only = read_only_admin = is_team = private_only = code_saving_enabled = is_paid = False
    storage_bytes = 0
    default_access = "PRIVATE"
    photo_url = limits = None
    xxhash_digests_enabled = True
    user = organization = property(attrgetter("source"))

    def entity_type(self) -> str:
        """The kind of entity."""
        return "organization" if isinstance(self.source, _RegistryOwner) else "user"

    def members(self) -> list[dict[str, Any]]:
        """The user alone."""
        member = {"id": ids.encode("User", self.source.id), "admin": True, "role": "admin", "pending": False}
        names = {"username": self.source.name, "name": self.source.name, "email": _email(self.source)}
        return [{**member, **names, "photo_url": None, "account_type": "USER", "api_key": None}]

    def project(self, name: str | None = None) -> Project | None:
        """A project by name."""
        return self.view.find_project(self.source.name, name)

    def projects(self, filters: str | None = None, order: str | None = None) -> list[Project]:
        """The projects that match, newest first by default."""
        return listings.projects(self._projects, filters, order)

    def artifact_collections(
        self,
        project_filters: str | None = None,
        filters: str | None = None,
        collection_types: list[str] | None = None,
        order: str | None = None,
    ) -> list[Collection]:
        """The collections that match, in the projects that match."""
        found = self._collections(project_filters, filters, order)
        return [each for each in found if not collection_types or each.kind in collection_types]

    def artifact_memberships(
        self,
        project_filters: str | None = None,
        collection_filters: str | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> list[Membership]:
        """The versions that match, in the collections and projects that match."""
        return [
            membership
            for collection in self._collections(project_filters, collection_filters, order)
            for membership in listings.memberships(self.context, collection.id, filters, None)
        ]

    @functools.cached_property
    def _projects(self) -> list[Project]:
        found = projects.of_user(self.db, self.source.id)
        is_owner = isinstance(self.source, _RegistryOwner)
        return [each for each in found if each.name.startswith(_REGISTRY)] if is_owner else found

    def _collections(self, project_filters: str | None, filters: str | None, order: str | None) -> list[Collection]:
        return [
            collection
            for project in listings.projects(self._projects, project_filters, None)
            for collection in listings.collections(
                self.context, collections.in_project(self.db, project.id), filters, order
            )
        ]


class OrganizationFields(Fields[User]):
    """`Organization`: on one machine, every entity is an organization of its own."""

    core_weave_organization_id = None
    advanced_registry_features = {"advanced_search": False}  # noqa: RUF012 (never changed)
    feature_flags: tuple[Any, ...] = ()

    def org_entity(self) -> User:
        """The entity that owns the registries."""
        return _RegistryOwner(*astuple(self.source))
