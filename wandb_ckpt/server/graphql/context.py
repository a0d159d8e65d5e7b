"""Context: what the resolvers of one GraphQL request share: who asks, the rows seen so far, the addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.http.services import Services
from wandb_ckpt.server.http.urls import Urls
from wandb_ckpt.server.names import check_project_name
from wandb_ckpt.server.store import Database, accounts, artifacts, collections, projects, runs
from wandb_ckpt.server.store.records import Artifact, ArtifactType, Collection, Project, Run, User
from wandb_ckpt.server.versions.blobs import Blobs

__all__ = ["Context"]

_Record = TypeVar("_Record")


class Context:
    """The view of one user on the rows, for the time of one request.

    Whatever belongs to another user is as if it were not there.

    Args:
        services: The parts of the server.
        user: Who asks.
        urls: Makes addresses that lead back to where the request was sent.
    """

    def __init__(self, services: Services, user: User, urls: Urls) -> None:
        self.services = services
        self.user = user
        self.urls = urls
        self._seen: dict[tuple[Callable[..., Any], int], Any] = {}

    @property
    def db(self) -> Database:
        """The rows."""
        return self.services.db

    @property
    def blobs(self) -> Blobs:
        """The bytes."""
        return self.services.blobs

    # A page of versions names the same few projects, types and runs again and again.
    def _cached(self, read: Callable[[Database, int], _Record | None], row_id: int) -> _Record | None:
        key = (read, row_id)
        if key not in self._seen:
            self._seen[key] = read(self.db, row_id)
        found: _Record | None = self._seen[key]
        return found

    def forget(self) -> None:
        """Read everything anew: the request is about to change, or has changed, something."""
        self._seen.clear()

    # By row id, for rows that were reached from others of the same user

    def user_of(self, user_id: int) -> User:
        """The user (entity) behind a row."""
        return _there(self._cached(accounts.user, user_id), "user")

    def project_of(self, project_id: int) -> Project:
        """The project behind a row."""
        return _there(self._cached(projects.project, project_id), "project")

    def type_of(self, type_id: int) -> ArtifactType:
        """The artifact type behind a row."""
        return _there(self._cached(projects.artifact_type, type_id), "artifact type")

    def collection_of(self, collection_id: int) -> Collection:
        """The collection behind a row."""
        return _there(self._cached(collections.collection, collection_id), "collection")

    def run_of(self, run_id: int) -> Run | None:
        """The run behind a row, if it was not deleted."""
        return self._cached(runs.run, run_id)

    def artifact_of(self, artifact_id: int) -> Artifact:
        """The artifact behind a row."""
        return _there(self._cached(artifacts.artifact, artifact_id), "artifact")

    # By what a client sent

    def entity(self, name: str | None) -> User:
        """The user's own entity; an offline run knows no entity and sends the empty name.

        Raises:
            NotFoundError: There is no such entity, or it is another user's.
        """
        if name and name != self.user.name:
            raise NotFoundError(
                f"entity {name!r} not found. This API key's entity is {self.user.name!r}: use that, or leave the "
                "entity out."
            )
        return self.user

    def find_project(self, entity: str | None, name: str | None) -> Project | None:
        """The project, or None when it or its entity is not there."""
        if not name or (entity and entity != self.user.name):
            return None
        return projects.named(self.db, self.user.id, name)

    def project(self, entity: str | None, name: str | None) -> Project:
        """The project.

        Raises:
            NotFoundError: It or its entity is not there.
        """
        found = self.find_project(entity, name)
        if found is None:
            raise NotFoundError(f"project {entity or self.user.name}/{name} not found.")
        return found

    def project_on_demand(self, entity: str | None, name: str | None) -> Project:
        """The project, made if need be; without a name it is "uncategorized", as in W&B."""
        owner = self.entity(entity)
        return projects.get_or_create(self.db, owner.id, check_project_name(name or "uncategorized"))[0]

    def run(self, entity: str | None, project: str | None, name: str) -> Run:
        """The run.

        Raises:
            NotFoundError: It, its project or its entity is not there.
        """
        found = runs.named(self.db, self.project(entity, project).id, name)
        if found is None:
            raise NotFoundError(f"run {entity or self.user.name}/{project}/{name} not found.")
        return found

    def run_by_id(self, run_id: str) -> Run:
        """The run by its id.

        Raises:
            NotFoundError: It is not there.
        """
        found = runs.run(self.db, ids.decode("Run", run_id))
        if found is None or self.project_of(found.project_id).user_id != self.user.id:
            raise NotFoundError(f"run with the id {run_id} not found.")
        return found

    def artifact(self, artifact_id: str) -> Artifact:
        """The artifact by its id; not one that was deleted.

        Raises:
            NotFoundError: It is not there.
        """
        found = artifacts.artifact(self.db, ids.decode("Artifact", artifact_id))
        if found is None or found.user_id != self.user.id or found.state == "DELETED":
            raise NotFoundError(f"artifact with the id {artifact_id} not found.")
        return found

    def committed(self, artifact_id: str) -> Artifact:
        """The version by its id.

        Raises:
            NotFoundError: It is not there.
            InvalidRequestError: It is still being uploaded.
        """
        found = self.artifact(artifact_id)
        if found.state != "COMMITTED":
            raise InvalidRequestError(
                f"artifact with the id {artifact_id} is not complete yet: wait for its upload to end."
            )
        return found

    def collection(self, collection_id: str, *kinds: str) -> Collection:
        """The collection by its id; of one of the given kinds, if any are given.

        Raises:
            NotFoundError: It is not there.
        """
        kind, number = ids.decode_any(collection_id)
        found = collections.collection(self.db, number)
        if (
            found is None
            or found.state == "DELETED"
            or kind not in {"ArtifactSequence": "SEQUENCE", "ArtifactPortfolio": "PORTFOLIO"}
            or (kinds and found.kind not in kinds)
            or self.project_of(found.project_id).user_id != self.user.id
        ):
            raise NotFoundError(f"artifact collection with the id {collection_id} not found.")
        return found

    def collection_named(self, entity: str | None, project: str | None, name: str) -> Collection:
        """The collection by its place and name.

        Raises:
            NotFoundError: It is not there.
        """
        found = collections.named(self.db, self.project(entity, project).id, name)
        if found is None:
            raise NotFoundError(f"artifact collection {entity or self.user.name}/{project}/{name} not found.")
        return found


def _there(found: _Record | None, what: str) -> _Record:
    if found is None:
        raise NotFoundError(f"The {what} was deleted in the meantime.")
    return found
