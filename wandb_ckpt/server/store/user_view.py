"""The rows that one user may see. Rows of other users look as if they did not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ConflictError, InvalidRequestError, NotFoundError
from wandb_ckpt.server.names import check_collection_name, check_project_name, check_type_name
from wandb_ckpt.server.store import accounts, artifacts, collections, projects, runs
from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Artifact, ArtifactType, Collection, Project, Run, User

__all__ = ["UserView"]

_Record = TypeVar("_Record")


class UserView:
    """The rows of one user, for the time of one request.

    Methods that take what a client sent raise `NotFoundError` if there is no such row.

    Args:
        db: The database.
        user: The user who sends the request.
    """

    def __init__(self, db: Database, user: User) -> None:
        self.db = db
        self.user = user
        self._seen: dict[tuple[Callable[..., Any], int], Any] = {}

    # By row id, from another row of the same user. A list of versions names the same few projects, types and runs
    # again and again.

    def user_of(self, user_id: int) -> User:
        """Return the user (entity) with a row id."""
        return self._existing(accounts.user, user_id)

    def project_of(self, project_id: int) -> Project:
        """Return the project with a row id."""
        return self._existing(projects.project, project_id)

    def type_of(self, type_id: int) -> ArtifactType:
        """Return the artifact type with a row id."""
        return self._existing(projects.artifact_type, type_id)

    def collection_of(self, collection_id: int) -> Collection:
        """Return the collection with a row id."""
        return self._existing(collections.collection, collection_id)

    def artifact_of(self, artifact_id: int) -> Artifact:
        """Return the artifact with a row id."""
        return self._existing(artifacts.artifact, artifact_id)

    def run_of(self, run_id: int) -> Run | None:
        """Return the run with a row id, or None if it was deleted."""
        return self._cached(runs.run, run_id)

    def _existing(self, read: Callable[[Database, int], _Record | None], row_id: int) -> _Record:
        found = self._cached(read, row_id)
        if found is None:
            raise NotFoundError(f"The {read.__name__.replace('_', ' ')} no longer exists.")
        return found

    def _cached(self, read: Callable[[Database, int], _Record | None], row_id: int) -> _Record | None:
        key = (read, row_id)
        if key not in self._seen:
            self._seen[key] = read(self.db, row_id)
        found: _Record | None = self._seen[key]
        return found

    def forget(self) -> None:
        """Read everything anew, because the request changes something."""
        self._seen.clear()

    # By what a client sent

    def entity(self, name: str | None) -> User:
        """Return the user's own entity. An offline run sends the empty name."""
        if name and name != self.user.name:
            raise NotFoundError(
                f"entity {name!r} not found. The entity of this API key is {self.user.name!r}. Use it, or leave the "
                "entity out."
            )
        return self.user

    def find_project(self, entity: str | None, name: str | None) -> Project | None:
        """Return a project, or None if the project or the entity does not exist."""
        if not name or (entity and entity != self.user.name):
            return None
        return projects.named(self.db, self.user.id, name)

    def project(self, entity: str | None, name: str | None) -> Project:
        """Return a project."""
        found = self.find_project(entity, name)
        if found is None:
            raise NotFoundError(f"project {entity or self.user.name}/{name} not found.")
        return found

    def project_on_demand(self, entity: str | None, name: str | None) -> Project:
        """Return a project. Create it if need be. As in W&B, the default name is "uncategorized"."""
        owner = self.entity(entity)
        return projects.get_or_create(self.db, owner.id, check_project_name(name or "uncategorized"))[0]

    def project_by_id(self, project_id: str) -> Project:
        """Return the project with an id."""
        found = projects.project(self.db, ids.decode("Project", project_id))
        if found is None or found.user_id != self.user.id:
            raise NotFoundError(f"project with the id {project_id} not found.")
        return found

    def run(self, entity: str | None, project: str | None, name: str) -> Run:
        """Return a run."""
        found = runs.named(self.db, self.project(entity, project).id, name)
        if found is None:
            raise NotFoundError(f"run {entity or self.user.name}/{project}/{name} not found.")
        return found

    def run_by_id(self, run_id: str) -> Run:
        """Return the run with an id."""
        found = runs.run(self.db, ids.decode("Run", run_id))
        if found is None or self.project_of(found.project_id).user_id != self.user.id:
            raise NotFoundError(f"run with the id {run_id} not found.")
        return found

    def artifact(self, artifact_id: str) -> Artifact:
        """Return the artifact with an id, unless it was deleted."""
        found = artifacts.artifact(self.db, ids.decode("Artifact", artifact_id))
        if found is None or found.user_id != self.user.id or found.state == "DELETED":
            raise NotFoundError(f"artifact with the id {artifact_id} not found.")
        return found

    def committed(self, artifact_id: str) -> Artifact:
        """Return the version with an id.

        Raises:
            InvalidRequestError: Its upload is not complete.
        """
        found = self.artifact(artifact_id)
        if found.state != "COMMITTED":
            raise InvalidRequestError(f"artifact with the id {artifact_id} is not complete. Wait for its upload.")
        return found

    def collection(self, collection_id: str, kind: str | None = None) -> Collection:
        """Return the collection with an id. It must have the kind, if one is given."""
        type_name, row_id = ids.decode_any(collection_id)
        found = collections.collection(self.db, row_id)
        if (
            found is None
            or found.state == "DELETED"
            or type_name not in {"ArtifactSequence", "ArtifactPortfolio"}
            or kind not in {None, found.kind}
            or self.project_of(found.project_id).user_id != self.user.id
        ):
            raise NotFoundError(f"artifact collection with the id {collection_id} not found.")
        return found

    def collection_named(self, entity: str | None, project: str | None, name: str) -> Collection:
        """Return a collection by its project and name."""
        found = collections.named(self.db, self.project(entity, project).id, name)
        if found is None:
            raise NotFoundError(f"artifact collection {entity or self.user.name}/{project}/{name} not found.")
        return found

    def collection_on_demand(self, project: Project, name: str, type_name: str, kind: str) -> Collection:
        """Return the collection of a project with a name, kind and type. Create it if need be.

        Raises:
            ConflictError: There is one with another kind or type.
        """
        check_collection_name(name)
        artifact_type = projects.get_or_create_type(self.db, project.id, check_type_name(type_name))
        found = collections.named(self.db, project.id, name)
        if found is None:
            return collections.create(self.db, project.id, artifact_type.id, kind, name)
        if found.kind != kind:
            raise ConflictError(
                f"{name!r} is already the name of a {found.kind.lower()}, so a {kind.lower()} can't have it. "
                "Choose another name."
            )
        if found.type_id != artifact_type.id:
            known = self.type_of(found.type_id).name
            raise ConflictError(
                f"Artifact {name} already exists with type {known!r}; cannot create another with type {type_name!r}."
            )
        return found
