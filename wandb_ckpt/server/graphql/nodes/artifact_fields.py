"""The fields of artifacts: versions, and uploads that are not complete."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.graphql.files import File, file_of_version, files_of_version
from wandb_ckpt.server.graphql.paging import Listing
from wandb_ckpt.server.http.addresses import manifest_path
from wandb_ckpt.server.store import artifacts, collections, contents
from wandb_ckpt.server.store.records import Alias, Artifact, ArtifactType, Collection, Membership, Run, Tag, User

__all__ = ["ArtifactFields"]

_TTL_INHERITED = -1
_TTL_DISABLED = -2


class ArtifactFields(Fields[Artifact]):
    """`Artifact`."""

    def ttl_is_inherited(self) -> bool:
        """Whether the version has no time to live of its own."""
        return self.source.ttl_seconds in {None, _TTL_INHERITED}

    def ttl_duration_seconds(self) -> int:
        """The time to live."""
        return _TTL_DISABLED if self.ttl_is_inherited() else self.source.ttl_seconds or _TTL_DISABLED

    def artifact_sequence(self) -> Collection:
        """The sequence that owns the version."""
        return self.view.collection_of(self.source.collection_id)

    def artifact_type(self) -> ArtifactType:
        """The type."""
        return self.view.type_of(self.artifact_sequence().type_id)

    def version_index(self) -> int | None:
        """The N of `vN`, or None while the upload is not complete."""
        found = collections.membership_of(self.db, self.source.collection_id, self.source.id)
        return None if found is None else found.version_index

    def tags(self) -> list[Tag]:
        """The tags of the version."""
        return artifacts.tags(self.db, self.source.id)

    def aliases(self) -> list[Alias]:
        """The aliases of the version in all its collections."""
        return collections.aliases_of_artifact(self.db, self.source.id)

    def artifact_memberships(self) -> list[Membership]:
        """The memberships of the version in its own and in other collections."""
        return collections.memberships_of_artifact(self.db, self.source.id)

    def current_manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete version."""
        if self.source.manifest_blob is None:
            return None
        path = manifest_path(self.source.user_id, self.source.id)
        file = File(
            "", "wandb_manifest.json", path, direct_url=self.context.urls.read(path), mimetype="application/json"
        )
        return {"id": self.source.id, "digest": self.source.digest, "file": file}

    def files(self, names: list[str] | None = None) -> Listing:
        """The files."""
        return files_of_version(self.context, self.source.id, names)

    def files_by_manifest_entries(
        self,
        storage_layout: str,  # noqa: ARG002 (an argument of the schema)
        manifest_version: str,  # noqa: ARG002
        entries: list[dict[str, Any]] | None = None,
        storage_region: str | None = None,  # noqa: ARG002
    ) -> list[File]:
        """The files that the client names from the manifest."""
        found = [contents.entry(self.db, self.source.id, entry["name"]) for entry in entries or []]
        return [file_of_version(self.context, self.source, entry) for entry in found if entry]

    def created_by(self) -> Run | User | None:
        """The run that logged the version, else its user."""
        run = None if self.source.run_id is None else self.view.run_of(self.source.run_id)
        return run or self.view.user_of(self.source.user_id)

    def used_by(self) -> list[Run]:
        """The runs that used the version."""
        return artifacts.used_by(self.db, self.source.id)
