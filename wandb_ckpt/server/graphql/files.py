"""Nodes: files of versions and of runs."""

# ruff: noqa: ARG002 (the schema names arguments that this server needs not)
from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql.nodes import artifact_fields as artifact_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect
from wandb_ckpt.server.http.urls import object_path
from wandb_ckpt.server.store import artifacts, contents
from wandb_ckpt.server.store.records import Artifact, Entry, RunFile

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = ["FileNode", "digest_to_hex", "files_of_artifact", "run_file_path"]


def digest_to_hex(digest: str) -> str:
    """A Base64 digest as it stands in storage paths."""
    try:
        return base64.b64decode(digest, validate=True).hex()
    except binascii.Error:
        return digest.encode().hex()


def run_file_path(run_id: int, name: str) -> str:
    """Where a run's file is in storage."""
    return f"runs/{run_id}/{name}"


class FileNode:
    """`File`, as far as it is read: uploads have nodes of their own."""

    typename = "File"

    def __init__(self, node_id: str, name: str, size: int, url: str | None, storage_path: str | None) -> None:
        self.id = node_id
        self.name = self.display_name = name
        self.size_bytes = size
        self.direct_url = url
        self.storage_path = storage_path
        self.mimetype = mimetypes.guess_type(name)[0]
        self.updated_at: str | None = None
        self.digest: str | None = None
        self.md5: str | None = None
        self.artifact: artifact_nodes.ArtifactNode | None = None
        self.upload_url: str | None = None
        self.upload_headers: list[str] | None = None
        self.upload_multipart_urls: dict[str, Any] | None = None

    def url(self, upload: bool | None = None) -> str | None:
        """The same as `direct_url`."""
        return self.direct_url

    @classmethod
    def of_entry(cls, context: Context, artifact: Artifact, entry: Entry) -> FileNode:
        """One file of a version; of a reference, the address is the reference."""
        path = None
        if entry.birth_artifact_id is not None:
            path = object_path(artifact.user_id, entry.birth_artifact_id, digest_to_hex(entry.digest))
        url = entry.ref if path is None else context.urls.read(path)
        node_id = base64.b64encode(f"ArtifactFile:{artifact.id}:{entry.path}".encode()).decode()
        node = cls(node_id, entry.path, entry.size, url, path)
        node.updated_at = artifact.updated_at
        node.digest = entry.digest
        node.md5 = entry.md5 or entry.digest
        return node

    @classmethod
    def of_run(cls, context: Context, file: RunFile) -> FileNode:
        """One file of a run."""
        path = run_file_path(file.run_id, file.name)
        node = cls(ids.encode("RunFile", file.id), file.name, file.size, context.urls.read(path), path)
        node.updated_at = file.updated_at
        node.digest = node.md5 = file.md5
        node.mimetype = file.mimetype or node.mimetype
        return node


def files_of_artifact(
    context: Context, artifact_id: int, names: list[str] | None, after: str | None, first: int | None
) -> Connection:
    """A page of a version's files; only the given names, if any are."""
    artifact = artifacts.artifact(context.db, artifact_id)
    assert artifact is not None

    def count() -> int:
        if names:
            return len(contents.entries(context.db, artifact_id, names))
        return contents.count_entries(context.db, artifact_id)

    def window(limit: int, offset: int) -> Sequence[FileNode]:
        entries = contents.entries(context.db, artifact_id, names, limit, offset)
        return [FileNode.of_entry(context, artifact, entry) for entry in entries]

    return connect(count, window, first=first, after=after)
