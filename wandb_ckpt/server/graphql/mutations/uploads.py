"""Mutations: announcing manifests and files, which then are uploaded to signed addresses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.files import FileNode, digest_to_hex
from wandb_ckpt.server.graphql.mutations.multipart import offer_parts
from wandb_ckpt.server.graphql.mutations.version_changes import Input
from wandb_ckpt.server.graphql.nodes.artifact_fields import ArtifactNode
from wandb_ckpt.server.http.urls import object_path
from wandb_ckpt.server.names import check_file_path
from wandb_ckpt.server.store import artifacts, contents
from wandb_ckpt.server.store.records import Artifact, Manifest, StoredObject

__all__ = ["MUTATIONS", "manifest_upload_path"]

_MD5 = re.compile(r"[A-Za-z0-9+/]{22}==")


def manifest_upload_path(manifest_id: int, name: str) -> str:
    """Where a manifest is uploaded to."""
    return f"artifact_manifests/uploads/{manifest_id}/{name}"


def create_artifact_manifest(context: Context, data: Input) -> dict[str, Any]:
    """Announce a manifest. The client asks twice for a FULL one, first without a digest: it is the same one."""
    artifact = _pending(context, data["artifact_id"])
    kind = data.get("type") or "FULL"
    base = data.get("base_artifact_id")
    base_id = context.artifact(base).id if base else None
    with context.db.atomic():
        known = None if kind == "PATCH" else _manifest_of_kind(context, artifact, kind)
        if known is None:
            name, digest = check_file_path(data["name"]), data["digest"]
            known = contents.create_manifest(context.db, artifact.id, base_id, kind, name, digest)
        else:
            contents.set_manifest_digest(context.db, known.id, data["digest"], base_id)
        artifacts.touch(context.db, artifact.id)
    return {"artifact_manifest": _upload_of_manifest(context, known, data["digest"])}


def update_artifact_manifest(context: Context, data: Input) -> dict[str, Any]:
    """Announce the content of a manifest."""
    known = contents.manifest(context.db, ids.decode("ArtifactManifest", data["artifact_manifest_id"]))
    if known is None:
        raise NotFoundError(f"artifact manifest {data['artifact_manifest_id']} not found.")
    _pending(context, ids.encode("Artifact", known.artifact_id))
    base = data.get("base_artifact_id")
    digest = data.get("digest") or known.digest
    contents.set_manifest_digest(context.db, known.id, digest, context.artifact(base).id if base else None)
    return {"artifact_manifest": _upload_of_manifest(context, known, digest)}


def _manifest_of_kind(context: Context, artifact: Artifact, kind: str) -> Manifest | None:
    found = [each for each in contents.manifests(context.db, artifact.id) if each.type == kind]
    return found[-1] if found else None


def _pending(context: Context, artifact_id: str) -> Artifact:
    artifact = context.artifact(artifact_id)
    if artifact.state != "PENDING":
        raise InvalidRequestError(f"artifact with the id {artifact_id} is complete: its files can't change any more.")
    return artifact


def _upload_of_manifest(context: Context, known: Manifest, digest: str) -> dict[str, Any]:
    node_id = ids.encode("ArtifactManifest", known.id)
    path = manifest_upload_path(known.id, known.name)
    file = FileNode(node_id, known.name, 0, None, path)
    file.upload_url = context.urls.write(path)
    file.upload_headers = ["Content-Type:application/json"]
    if _MD5.fullmatch(digest):
        file.upload_headers.append(f"Content-MD5:{digest}")
    return {"id": node_id, "digest": digest, "file": file}


def create_artifact_files(context: Context, data: Input) -> dict[str, Any]:
    """Announce files; those whose content the sequence has already need no upload."""
    with context.db.atomic():
        nodes = [_announce(context, file) for file in data["artifact_files"]]
        for artifact_id in {file["artifact_id"] for file in data["artifact_files"]}:
            artifacts.touch(context.db, context.artifact(artifact_id).id)
    return {"files": {"edges": [{"node": node} for node in nodes]}}


def _announce(context: Context, file: Input) -> FileNode:
    artifact = _pending(context, file["artifact_id"])
    check_file_path(file["name"])
    digest, md5 = file.get("digest") or file["md5"], file["md5"]
    if not _MD5.fullmatch(md5) or len(digest) > 128:
        raise InvalidRequestError(f"The file {file['name']!r} has no valid MD5: expected 16 bytes in Base64.")
    known = _stored(context, artifact, digest, md5)
    known = known or contents.announce_object(context.db, artifact.id, artifact.collection_id, digest, md5)
    contents.claim(context.db, artifact.id, known.id)
    node = _upload_of_object(context, artifact, file["name"], known)
    wanted = file.get("upload_parts_input")
    if wanted and node.storage_path and known.blob is None:
        node.upload_multipart_urls = offer_parts(context, known, node.storage_path, wanted)
    return node


def _stored(context: Context, artifact: Artifact, digest: str, md5: str) -> StoredObject | None:
    known = contents.stored_in_sequence(context.db, artifact.collection_id, digest, md5)
    if known is None or known.blob is None or context.blobs.has(known.blob):
        return known
    # Somebody took the bytes out of the data folder. Uploaded again, they mend the older versions, too.
    contents.set_object_blob(context.db, known.id, None, None)
    return replace(known, blob=None)


def _upload_of_object(context: Context, artifact: Artifact, name: str, known: StoredObject) -> FileNode:
    birth = artifacts.artifact(context.db, known.artifact_id) if known.artifact_id != artifact.id else artifact
    assert birth is not None
    path = object_path(artifact.user_id, known.artifact_id, digest_to_hex(known.digest))
    node = FileNode(ids.encode("ArtifactObject", known.id), name, known.size or 0, None, path)
    node.digest, node.md5 = known.digest, known.md5
    node.artifact = ArtifactNode(context, birth)
    if known.blob is None:
        node.upload_url = context.urls.write(path)
        node.upload_headers = ["Content-Type:application/octet-stream", f"Content-MD5:{known.md5}"]
    return node


MUTATIONS = {
    "createArtifactManifest": create_artifact_manifest,
    "updateArtifactManifest": update_artifact_manifest,
    "createArtifactFiles": create_artifact_files,
}
