"""The fields of `Query`, where every reading request begins."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.graphql import listings
from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.store import artifacts, projects
from wandb_ckpt.server.store.records import Artifact, Collection, Project, User

__all__ = ["QueryFields"]

# Each name turns on something that the client does only with servers that support it. Those after the empty line are
# asked for by clients up to 0.28.
_FEATURES = (
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
    #
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "LARGE_FILENAMES",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
)


class QueryFields(Fields[None]):
    """`Query`."""

    def viewer(self) -> User:
        """The user who sends the request."""
        return self.view.user

    def server_info(self) -> dict[str, Any]:
        """What the server can do. It accepts every version of the client."""
        return {
            "cli_version_info": {"min_cli_version": "0.0.1", "max_cli_version": "99.0.0"},
            "features": [{"name": name, "is_enabled": True} for name in _FEATURES],
        }

    def entity(self, name: str | None = None) -> User | None:
        """The user's own entity by name."""
        return self.view.user if not name or name == self.view.user.name else None

    def organization(self, name: str | None = None) -> User | None:
        """The user's own organization by name."""
        return self.view.user if name == self.view.user.name else None

    def users(self, query: str | None = None) -> list[User]:
        """The user alone, if the query is a part of the user's name or address. Users do not see each other."""
        user = self.view.user
        return [user] if query and query in f"{user.name}@localhost" else []

    def project(self, name: str | None = None, entity_name: str | None = None) -> Project | None:
        """A project by its entity and name."""
        return self.view.find_project(entity_name, name)

    model = project

    def models(self, entity_name: str | None = None) -> list[Project]:
        """The projects of the user's own entity."""
        is_own = not entity_name or entity_name == self.view.user.name
        return listings.projects(projects.of_user(self.db, self.view.user.id), None, None) if is_own else []

    def artifact(self, id: str) -> Artifact | None:  # noqa: A002 (the name in W&B's schema)
        """An artifact by its id."""
        try:
            return self.view.artifact(id)
        except NotFoundError:
            return None

    def artifact_collection(self, id: str) -> Collection | None:  # noqa: A002
        """A collection by its id."""
        try:
            return self.view.collection(id)
        except NotFoundError:
            return None

    def client_id_mapping(self, client_id: str) -> dict[str, Any] | None:
        """The artifact that a client created with an id of its own."""
        found = artifacts.of_client_id(self.db, self.view.user.id, client_id)
        return {"server_id": ids.encode("Artifact", found.id)} if found else None
