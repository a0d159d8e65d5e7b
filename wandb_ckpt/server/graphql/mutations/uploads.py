"""Mutations that announce manifests and files, whole or in parts. Clients then upload them to signed addresses.

The client cuts files of 2 GiB and more into parts, and repeats a part that failed. This server writes and hashes the
bytes of parts twice, because a file is stored by the digest of the whole. So it offers parts only for files so large
that nobody wants to send them again. The client sends the others in one piece.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.files import File
from wandb_ckpt.server.graphql.mutations.inputs import Input
from wandb_ckpt.server.http.addresses import manifest_upload_path, object_path, part_path
from wandb_ckpt.server.names import check_file_path
from wandb_ckpt.server.store import artifacts, contents
from wandb_ckpt.server.store.records import Artifact, Manifest, Part, StoredObject

__all__ = [
    "complete_multipart_upload_artifact",
    "create_artifact_files",
    "create_artifact_manifest",
    "update_artifact_manifest",
]

_MD5 = re.compile(r"[A-Za-z0-9+/]{22}==")
_HEX_MD5 = re.compile(r"[0-9a-fA-F]{32}")
# The parts of the client have 100 MiB.
_FEWEST_PARTS = 100
_MOST_PARTS = 10_000
_CHUNK = 2**20


def _pending(context: Context, artifact_id: str) -> Artifact:
    artifact = context.view.artifact(artifact_id)
    if artifact.state != "PENDING":
        raise InvalidRequestError(f"artifact with the id {artifact_id} is complete. Its files can't change any more.")
    return artifact


# Manifests


def create_artifact_manifest(context: Context, data: Input) -> dict[str, Any]:
    """Announce a manifest. The client asks for a FULL manifest twice, first without a digest: it is the same one."""
    artifact = _pending(context, data["artifact_id"])
    kind = data.get("type") or "FULL"
    base_id = _base_id(context, data)
    with context.db.atomic():
        known = None if kind == "PATCH" else _manifest_of_kind(context, artifact, kind)
        if known is None:
            name = check_file_path(data["name"])
            known = contents.create_manifest(context.db, artifact.id, base_id, kind, name, data["digest"])
        else:
            contents.set_manifest_digest(context.db, known.id, data["digest"], base_id)
        artifacts.touch(context.db, artifact.id)
    return _manifest_payload(context, known, data["digest"])


def _base_id(context: Context, data: Input) -> int | None:
    base = data.get("base_artifact_id")
    return context.view.artifact(base).id if base else None


def _manifest_of_kind(context: Context, artifact: Artifact, kind: str) -> Manifest | None:
    found = [each for each in contents.manifests(context.db, artifact.id) if each.type == kind]
    return found[-1] if found else None


def update_artifact_manifest(context: Context, data: Input) -> dict[str, Any]:
    """Announce the content of a manifest."""
    known = contents.manifest(context.db, ids.decode("ArtifactManifest", data["artifact_manifest_id"]))
    if known is None:
        raise NotFoundError(f"artifact manifest {data['artifact_manifest_id']} not found.")
    _pending(context, ids.encode("Artifact", known.artifact_id))
    digest = data.get("digest") or known.digest
    contents.set_manifest_digest(context.db, known.id, digest, _base_id(context, data))
    return _manifest_payload(context, known, digest)


def _manifest_payload(context: Context, known: Manifest, digest: str) -> dict[str, Any]:
    path = manifest_upload_path(known.id, known.name)
    md5 = [f"Content-MD5:{digest}"] if _MD5.fullmatch(digest) else []
    file = File(
        id=ids.encode("ArtifactManifest", known.id),
        name=known.name,
        storage_path=path,
        upload_url=context.urls.write(path),
        upload_headers=["Content-Type:application/json", *md5],
    )
    return {"artifact_manifest": {"id": known.id, "digest": digest, "file": file}}


# Files


def create_artifact_files(context: Context, data: Input) -> dict[str, Any]:
    """Announce files. Content that the sequence has already needs no upload."""
    with context.db.atomic():
        files = [_announce(context, file) for file in data["artifact_files"]]
        for artifact_id in {file["artifact_id"] for file in data["artifact_files"]}:
            artifacts.touch(context.db, context.view.artifact(artifact_id).id)
    return {"files": files}


def _announce(context: Context, file: Input) -> File:
    artifact = _pending(context, file["artifact_id"])
    check_file_path(file["name"])
    digest, md5 = file.get("digest") or file["md5"], file["md5"]
    if not _MD5.fullmatch(md5) or len(digest) > 128:
        raise InvalidRequestError(f"The file {file['name']!r} has no valid MD5: expected 16 bytes in base64.")
    known = _stored(context, artifact, digest, md5)
    known = known or contents.announce_object(context.db, artifact.id, artifact.collection_id, digest, md5)
    contents.claim(context.db, artifact.id, known.id)
    return _file(context, artifact, file["name"], known, file.get("upload_parts_input") or ())


def _stored(context: Context, artifact: Artifact, digest: str, md5: str) -> StoredObject | None:
    known = contents.stored_in_sequence(context.db, artifact.collection_id, digest, md5)
    if known is None or known.blob is None or context.blobs.has(known.blob):
        return known
    # The bytes are missing from the data folder. A new upload repairs the older versions too.
    contents.set_object_blob(context.db, known.id, None, None)
    return replace(known, blob=None)


def _file(context: Context, artifact: Artifact, name: str, known: StoredObject, parts: Sequence[Input]) -> File:
    path = object_path(artifact.user_id, known.artifact_id, known.digest)
    file = File(
        id=ids.encode("ArtifactObject", known.id),
        name=name,
        storage_path=path,
        size_bytes=known.size or 0,
        digest=known.digest,
        md5=known.md5,
        artifact=context.view.artifact_of(known.artifact_id),
    )
    if known.blob is not None:
        return file
    return replace(
        file,
        upload_url=context.urls.write(path),
        upload_headers=["Content-Type:application/octet-stream", f"Content-MD5:{known.md5}"],
        upload_multipart_urls=_offer_parts(context, known, path, parts),
    )


# Parts


def _offer_parts(
    context: Context, known: StoredObject, object_path: str, wanted: Sequence[Input]
) -> dict[str, Any] | None:
    # The client wants an address for each part, also for those that it has uploaded.
    if len(wanted) < _FEWEST_PARTS:
        return None
    if len(wanted) > _MOST_PARTS:
        raise InvalidRequestError(f"Too many parts: {len(wanted)}. At most {_MOST_PARTS} are allowed.")
    contents.announce_parts(context.db, known.id, [(each["part_number"], _md5(each["hex_md5"])) for each in wanted])
    numbers = [each["part_number"] for each in wanted]
    urls = [{"part_number": n, "upload_url": context.urls.write(part_path(object_path, n))} for n in numbers]
    return {"upload_id": ids.encode("Upload", known.id), "upload_url_parts": urls}


def _md5(hex_md5: str) -> str:
    text = hex_md5.strip('"')
    if not _HEX_MD5.fullmatch(text):
        raise InvalidRequestError(f"{hex_md5!r} is not an MD5 in hex.")
    return base64.b64encode(binascii.unhexlify(text)).decode()


def complete_multipart_upload_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Join the parts of a file. If it takes longer than the client waits, the client asks again and finds it done."""
    known = _object(context, data)
    if data["complete_multipart_action"] == "Abort":
        contents.forget_parts(context.db, known.id)
    else:
        # Two requests for one file must not write it twice, and disks are fastest with one large file at a time.
        with context.services.assembly:
            _join(context, known.id, data["completed_parts"])
    return {"digest": known.digest}


def _object(context: Context, data: Input) -> StoredObject:
    known = contents.find_object(context.db, ids.decode("Upload", data["upload_id"]))
    if known is None or ids.encode("Artifact", known.artifact_id) != data["artifact_id"]:
        raise NotFoundError("upload in parts not found. Announce the file again.")
    context.view.artifact(data["artifact_id"])
    return known


def _join(context: Context, object_id: int, completed: Sequence[Input]) -> None:
    known = contents.find_object(context.db, object_id)
    if known is None or known.blob is not None:
        return
    stored = contents.parts(context.db, object_id)
    _check(stored, {each["part_number"]: _md5(each["hex_md5"]) for each in completed})
    with context.blobs.writer() as writer:
        for part in stored:
            assert part.blob is not None
            with context.blobs.path(part.blob).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    writer.write(chunk)
        blob = writer.finish(md5=known.md5)
        with context.db.atomic():
            contents.set_object_blob(context.db, object_id, blob.id, blob.size)
            contents.forget_parts(context.db, object_id)


def _check(stored: Sequence[Part], completed: dict[int, str]) -> None:
    missing = [part.number for part in stored if part.blob is None]
    if missing or {part.number: part.md5 for part in stored} != completed:
        raise InvalidRequestError(
            f"The parts differ from the announced ones. Missing parts: {missing or 'none'}. Upload them again."
        )
