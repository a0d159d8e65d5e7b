"""The files of versions and runs as `File` of the GraphQL schema."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.paging import Listing
from wandb_ckpt.server.http.addresses import object_path, run_file_path
from wandb_ckpt.server.store import contents
from wandb_ckpt.server.store.records import Artifact, Entry, RunFile

__all__ = ["File", "file_of_run", "file_of_version", "files_of_version"]


@dataclass(frozen=True, slots=True)
class File:
    """A file to download or to upload."""

    id: str
    name: str
    storage_path: str | None
    size_bytes: int = 0
    direct_url: str | None = None
    updated_at: str | None = None
    digest: str | None = None
    md5: str | None = None
    mimetype: str | None = None
    artifact: Artifact | None = None
    upload_url: str | None = None
    upload_headers: Sequence[str] | None = None
    upload_multipart_urls: dict[str, Any] | None = None

    @property
    def display_name(self) -> str:
        """The name."""
        return self.name

    @property
    def url(self) -> str | None:
        """The address to download from."""
        return self.direct_url


def files_of_version(context: Context, artifact_id: int, names: list[str] | None) -> Listing:
    """Return the files of a version. Only the given names, if there are any."""
    artifact = context.view.artifact_of(artifact_id)
    if names:
        count = len(contents.entries(context.db, artifact_id, names))
    else:
        count = contents.count_entries(context.db, artifact_id)

    def read(limit: int, offset: int) -> list[File]:
        found = contents.entries(context.db, artifact_id, names, limit, offset)
        return [file_of_version(context, artifact, entry) for entry in found]

    return Listing(count, read)


def file_of_version(context: Context, artifact: Artifact, entry: Entry) -> File:
    """Return a file of a version. The address of a reference is the reference."""
    path = None
    if entry.birth_artifact_id is not None:
        path = object_path(artifact.user_id, entry.birth_artifact_id, entry.digest)
    return File(
        id=base64.b64encode(f"ArtifactFile:{artifact.id}:{entry.path}".encode()).decode(),
        name=entry.path,
        storage_path=path,
        size_bytes=entry.size,
        direct_url=entry.ref if path is None else context.urls.read(path),
        updated_at=artifact.updated_at,
        digest=entry.digest,
        md5=entry.md5 or entry.digest,
        mimetype=mimetypes.guess_type(entry.path)[0],
    )


def file_of_run(context: Context, file: RunFile) -> File:
    """Return a file of a run."""
    path = run_file_path(file.run_id, file.name)
    return File(
        id=ids.encode("RunFile", file.id),
        name=file.name,
        storage_path=path,
        size_bytes=file.size,
        direct_url=context.urls.read(path),
        updated_at=file.updated_at,
        digest=file.md5,
        md5=file.md5,
        mimetype=file.mimetype or mimetypes.guess_type(file.name)[0],
    )
