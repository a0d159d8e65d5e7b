"""Commit: turns an uploaded artifact into a version, at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.store import artifacts, collections, contents
from wandb_ckpt.server.store.records import Artifact, Manifest, Membership, StoredObject
from wandb_ckpt.server.versions import aliases as aliasing
from wandb_ckpt.server.versions import manifest
from wandb_ckpt.server.versions.manifest import ManifestEntry

__all__ = ["commit"]

_Files = dict[str, ManifestEntry]


def commit(context: Context, artifact: Artifact) -> Artifact:
    """The artifact as a version. A repeated request gets the version that is already there.

    Raises:
        InvalidRequestError: A file was not uploaded, or the manifest is missing, wrong or not the announced one.
    """
    if artifact.state == "COMMITTED":
        return artifact
    head, files = _assemble(context, artifact)
    objects = {path: _object(context, artifact, entry) for path, entry in files.items() if entry.ref is None}
    stored = [_stored_form(entry, objects.get(path)) for path, entry in files.items()]
    digest = _checked_digest(context, artifact, stored)
    blob = context.blobs.add(manifest.dump(head, stored))
    with context.db.atomic(durable=True):
        current = artifacts.artifact(context.db, artifact.id)
        if current is not None and current.state == "PENDING":
            _finish(context, current, stored, objects, digest, blob.id)
    context.forget()
    return context.artifact(ids.encode("Artifact", artifact.id))


def _finish(
    context: Context,
    artifact: Artifact,
    stored: list[ManifestEntry],
    objects: Mapping[str, StoredObject],
    digest: str,
    manifest_blob: str,
) -> None:
    rows = (_row(entry, objects.get(entry.path)) for entry in stored)
    contents.add_entries(context.db, artifact.id, rows)
    place = collections.add_membership(context.db, artifact.collection_id, artifact.id)
    artifacts.mark_committed(
        context.db,
        artifact.id,
        digest=digest,
        size=sum(entry.size for entry in stored),
        file_count=len(stored),
        manifest_blob=manifest_blob,
    )
    _put_aliases(context, place, json.loads(artifact.wanted_aliases))


def _row(entry: ManifestEntry, stored: StoredObject | None) -> contents.NewEntry:
    return entry.path, entry.digest, entry.size, None if stored is None else stored.id, entry.ref


def _put_aliases(context: Context, place: Membership, wanted: list[str]) -> None:
    # Another version may have got that number during the upload: no reason to lose what was uploaded.
    free = [alias for alias in wanted if not aliasing.names_another(context.db, place, alias)]
    aliasing.make_latest(context.db, place, free)


# Manifests


def _assemble(context: Context, artifact: Artifact) -> tuple[dict[str, Any], _Files]:
    parts = contents.manifests(context.db, artifact.id)
    if not parts:
        raise InvalidRequestError("The artifact has no manifest: upload it before the artifact is committed.")
    full = [part for part in parts if part.type == "FULL"]
    if full:
        return _read(context, full[-1])
    head: dict[str, Any] = {}
    files = _base_files(context, parts)
    for part in parts:
        head, more = _read(context, part)
        files.update(more)
    return head, files


def _read(context: Context, part: Manifest) -> tuple[dict[str, Any], _Files]:
    if part.blob is None:
        raise InvalidRequestError(f"The manifest {part.name!r} was announced, but not uploaded.")
    return manifest.parse(context.blobs.read(part.blob))


def _base_files(context: Context, parts: list[Manifest]) -> _Files:
    base_ids = [part.base_artifact_id for part in parts if part.type == "INCREMENTAL" and part.base_artifact_id]
    if not base_ids:
        return {}
    base = context.committed(ids.encode("Artifact", base_ids[-1]))
    assert base.manifest_blob is not None
    return manifest.parse(context.blobs.read(base.manifest_blob))[1]


def _checked_digest(context: Context, artifact: Artifact, stored: list[ManifestEntry]) -> str:
    digest = manifest.digest(stored, artifact.digest_algorithm)
    # The client announces the digest of what it adds; only for a whole manifest is that the version's own.
    whole = contents.full_manifest(context.db, artifact.id) is not None
    if whole and digest != artifact.digest:
        raise InvalidRequestError(
            f"The manifest's digest is {digest}, announced was {artifact.digest}. Log the artifact again."
        )
    return digest


def _object(context: Context, artifact: Artifact, entry: ManifestEntry) -> StoredObject:
    birth = artifact.id if entry.birth_artifact_id is None else ids.decode("Artifact", entry.birth_artifact_id)
    stored = contents.stored_object(context.db, birth, entry.digest)
    # An object of another sequence is none of this artifact's: nobody may reach content by guessing digests.
    if stored is None or stored.blob is None or stored.collection_id != artifact.collection_id:
        raise InvalidRequestError(
            f"The file {entry.path!r} is in the manifest, but was not uploaded. Log the artifact again."
        )
    if stored.size != entry.size:
        raise InvalidRequestError(
            f"The file {entry.path!r} has {stored.size} bytes, the manifest says {entry.size}. Log it again."
        )
    return stored


def _stored_form(entry: ManifestEntry, stored: StoredObject | None) -> ManifestEntry:
    birth = None if stored is None else ids.encode("Artifact", stored.artifact_id)
    return replace(entry, birth_artifact_id=birth)
