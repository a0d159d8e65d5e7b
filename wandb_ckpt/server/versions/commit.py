"""Makes an uploaded artifact a version, completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.store import Database, artifacts, collections, contents
from wandb_ckpt.server.store.records import Artifact, Manifest, StoredObject
from wandb_ckpt.server.versions import aliases, manifest
from wandb_ckpt.server.versions.blobs import Blobs
from wandb_ckpt.server.versions.manifest import ManifestEntry

__all__ = ["commit"]

_Files = dict[str, ManifestEntry]


def commit(db: Database, blobs: Blobs, artifact: Artifact) -> Artifact:
    """Make an artifact a version. If it is one already, return it.

    Raises:
        InvalidRequestError: A file was not uploaded, or the manifest is missing, invalid or not the announced one.
    """
    if artifact.state == "COMMITTED":
        return artifact
    manifests = contents.manifests(db, artifact.id)
    head, files = _assemble(db, blobs, manifests)
    objects = {path: _object(db, artifact, entry) for path, entry in files.items() if entry.ref is None}
    stored = [_stored_form(entry, objects.get(path)) for path, entry in files.items()]
    digest = manifest.digest(stored, artifact.digest_algorithm)
    # The client announces the digest of what it adds. Only for a whole manifest is that the digest of the version.
    if any(part.type == "FULL" for part in manifests) and digest != artifact.digest:
        raise InvalidRequestError(
            f"The digest of the manifest is {digest}, but {artifact.digest} was announced. Log the artifact again."
        )
    blob = blobs.add(manifest.dump(head, stored))
    with db.atomic(durable=True):
        current = artifacts.artifact(db, artifact.id)
        if current is not None and current.state == "PENDING":
            _finish(db, current, stored, objects, digest, blob.id)
    committed = artifacts.artifact(db, artifact.id)
    if committed is None or committed.state != "COMMITTED":
        raise NotFoundError("The artifact was deleted while it was committed.")
    return committed


def _finish(
    db: Database,
    artifact: Artifact,
    stored: Sequence[ManifestEntry],
    objects: Mapping[str, StoredObject],
    digest: str,
    manifest_blob: str,
) -> None:
    contents.add_entries(db, artifact.id, (_row(entry, objects.get(entry.path)) for entry in stored))
    place = collections.add_membership(db, artifact.collection_id, artifact.id)
    size = sum(entry.size for entry in stored)
    artifacts.mark_committed(
        db, artifact.id, digest=digest, size=size, file_count=len(stored), manifest_blob=manifest_blob
    )
    # During the upload, another version may have got the number that one of the aliases is.
    wanted = json.loads(artifact.wanted_aliases)
    aliases.make_latest(db, place, [alias for alias in wanted if not aliases.names_another(db, place, alias)])


def _row(entry: ManifestEntry, stored: StoredObject | None) -> contents.NewEntry:
    return entry.path, entry.digest, entry.size, None if stored is None else stored.id, entry.ref


# Manifests


def _assemble(db: Database, blobs: Blobs, parts: Sequence[Manifest]) -> tuple[dict[str, Any], _Files]:
    if not parts:
        raise InvalidRequestError("The artifact has no manifest. Upload it before you commit the artifact.")
    full = [part for part in parts if part.type == "FULL"]
    if full:
        return _read(blobs, full[-1])
    head: dict[str, Any] = {}
    files = _base_files(db, blobs, parts)
    for part in parts:
        head, more = _read(blobs, part)
        files.update(more)
    return head, files


def _read(blobs: Blobs, part: Manifest) -> tuple[dict[str, Any], _Files]:
    if part.blob is None:
        raise InvalidRequestError(f"The manifest {part.name!r} was announced, but not uploaded.")
    return manifest.parse(blobs.read(part.blob))


def _base_files(db: Database, blobs: Blobs, parts: Sequence[Manifest]) -> _Files:
    base_ids = [part.base_artifact_id for part in parts if part.type == "INCREMENTAL" and part.base_artifact_id]
    if not base_ids:
        return {}
    base = artifacts.artifact(db, base_ids[-1])
    if base is None or base.manifest_blob is None:
        raise InvalidRequestError("The version that the artifact is based on is not complete, or was deleted.")
    return manifest.parse(blobs.read(base.manifest_blob))[1]


# Objects


def _object(db: Database, artifact: Artifact, entry: ManifestEntry) -> StoredObject:
    birth = artifact.id if entry.birth_artifact_id is None else ids.decode("Artifact", entry.birth_artifact_id)
    stored = contents.stored_object(db, birth, entry.digest)
    # Only objects of the same sequence count: nobody may get content by guessing digests.
    if stored is None or stored.blob is None or stored.collection_id != artifact.collection_id:
        raise InvalidRequestError(
            f"The file {entry.path!r} is in the manifest, but was not uploaded. Log the artifact again."
        )
    if stored.size != entry.size:
        raise InvalidRequestError(
            f"The file {entry.path!r} has {stored.size} bytes, but the manifest says {entry.size}. Log it again."
        )
    return stored


def _stored_form(entry: ManifestEntry, stored: StoredObject | None) -> ManifestEntry:
    birth = None if stored is None else ids.encode("Artifact", stored.artifact_id)
    return replace(entry, birth_artifact_id=birth)
