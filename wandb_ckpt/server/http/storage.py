"""Storage: takes and gives the bytes of artifact files, manifests and run files.

Signed addresses (`/storage/…`) carry their own permission, because the client sends no key to them. `/artifactsV2/…`
is where it goes with its key, when it knows no signed address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ForbiddenError, InvalidRequestError, NotFoundError, UnauthorizedError
from wandb_ckpt.server.http.access import page_user
from wandb_ckpt.server.http.bodies import BodyReader
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.store import artifacts, contents, parts, runs
from wandb_ckpt.server.versions.blobs import Blob, BlobWriter

__all__ = ["artifacts_v2", "get", "put"]

_CHUNK = 2**20
_OBJECT = re.compile(r"wandb_artifacts/(\d{1,18})/(\d{1,18})/([0-9a-f]{2,256})", re.ASCII)
_PART = re.compile(r"wandb_artifacts/(\d{1,18})/(\d{1,18})/([0-9a-f]{2,256})/parts/(\d{1,18})", re.ASCII)
_FINISHED_MANIFEST = re.compile(r"artifact_manifests/(\d{1,18})/(\d{1,18})/wandb_manifest\.json", re.ASCII)
_MANIFEST = re.compile(r"artifact_manifests/uploads/(\d{1,18})/(.+)", re.ASCII)
_RUN_FILE = re.compile(r"runs/(\d{1,18})/(.+)", re.DOTALL)
_NOT_SIGNED = "This address has no valid signature for this request, or it has expired. Ask for the file again."


def _signed_path(request: Request, services: Services, method: str) -> str:
    path: str = request.path_params["path"]
    expires, signature = request.query_params.get("exp", ""), request.query_params.get("sig", "")
    if not services.signer.holds(method, path, expires, signature):
        raise ForbiddenError(_NOT_SIGNED)
    return path


# Upload


@dataclass(frozen=True, slots=True)
class _Target:
    """What an upload goes to: the MD5 that it must have, and how it is noted once it is stored."""

    md5: str | None
    note: Callable[[Blob], None]


async def put(request: Request) -> Response:
    """`PUT /storage/…`: take the bytes, check them, and only then note that they are there."""
    services = services_of(request)
    path = _signed_path(request, services, "PUT")
    target = await to_thread.run_sync(_target, services, path, request.headers.get("content-type"))
    body = BodyReader(request)
    with services.blobs.writer() as writer:
        last_piece = await _receive(body, writer)
        blob = await to_thread.run_sync(_finish, writer, last_piece, body.size, target)
    etag = base64.b64decode(blob.md5).hex()
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


async def _receive(body: BodyReader, writer: BlobWriter) -> memoryview:
    """Write what arrives, but for the last piece, which is given back."""
    # While one piece is hashed and written in a thread, which both release Python's lock, the next one arrives. Two
    # buffers take turns: in fresh memory for each piece, the page faults cost more than the hashing.
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] | None = None
    room = _CHUNK if body.size is None else min(body.size, _CHUNK)
    filling, spare = memoryview(bytearray(room)), None
    try:
        while True:
            count = await body.fill(filling)
            if body.ended:
                return filling[:count]
            if writing is not None:
                await writing
            writing = loop.run_in_executor(None, writer.write, filling)
            filling, spare = spare or memoryview(bytearray(room)), filling
    finally:
        # Also when the client is gone: the file must not be closed under the thread's hands.
        if writing is not None:
            await writing


def _finish(writer: BlobWriter, last_piece: memoryview, size: int | None, target: _Target) -> Blob:
    # All in one visit to a thread: most files are small, and a visit costs more than writing them.
    writer.write(last_piece)
    blob = writer.finish(size=size, md5=target.md5)
    target.note(blob)
    return blob


def _target(services: Services, path: str, mimetype: str | None) -> _Target:
    if found := _OBJECT.fullmatch(path):
        return _object_target(services, int(found[2]), found[3])
    if found := _PART.fullmatch(path):
        return _part_target(services, int(found[2]), found[3], int(found[4]))
    if found := _MANIFEST.fullmatch(path):
        return _manifest_target(services, int(found[1]))
    if found := _RUN_FILE.fullmatch(path):
        return _run_file_target(services, int(found[1]), found[2], mimetype)
    raise NotFoundError("There is nothing to upload to at this address.")


def _object_target(services: Services, artifact_id: int, hex_digest: str) -> _Target:
    digest = _digest_of_hex(hex_digest)
    announced = contents.stored_object(services.db, artifact_id, digest)
    if announced is None:
        raise NotFoundError("The file that this address was made for is not expected any more.")
    return _Target(
        announced.md5, lambda blob: contents.set_object_blob(services.db, announced.id, blob.id, blob.size)
    )


def _part_target(services: Services, artifact_id: int, hex_digest: str, number: int) -> _Target:
    whole = contents.stored_object(services.db, artifact_id, _digest_of_hex(hex_digest))
    announced = parts.part(services.db, whole.id, number) if whole else None
    if announced is None:
        raise NotFoundError("The part that this address was made for is not expected any more.")
    object_id = announced.object_id
    return _Target(announced.md5, lambda blob: parts.set_blob(services.db, object_id, number, blob.id, blob.size))


def _manifest_target(services: Services, manifest_id: int) -> _Target:
    announced = contents.manifest(services.db, manifest_id)
    if announced is None:
        raise NotFoundError("The manifest that this address was made for is not expected any more.")
    return _Target(
        announced.digest or None, lambda blob: contents.set_manifest_blob(services.db, manifest_id, blob.id)
    )


def _run_file_target(services: Services, run_id: int, name: str, mimetype: str | None) -> _Target:
    if runs.run(services.db, run_id) is None:
        raise NotFoundError("The run that this address was made for was deleted.")
    kind = mimetypes.guess_type(name)[0] or mimetype

    def note(blob: Blob) -> None:
        runs.put_file(services.db, run_id, name, blob=blob.id, size=blob.size, md5=blob.md5, mimetype=kind)

    return _Target(None, note)


# Download


class _BlobResponse(FileResponse):
    # Starlette's 64 KiB are a thread hop each; larger pieces are several times as fast.
    chunk_size = _CHUNK


async def get(request: Request) -> Response:
    """`GET /storage/…`: give the bytes, all or a range of them."""
    services = services_of(request)
    path = _signed_path(request, services, "GET")
    blob, media_type = await to_thread.run_sync(_source, services, path)
    return _send(services, blob, media_type)


def _send(services: Services, blob: str, media_type: str) -> Response:
    # Whatever a file pretends to be, a browser must not run it in this origin.
    path = services.blobs.path(blob)
    if not path.is_file():
        raise NotFoundError("The bytes of this file are missing from the data folder. Log it again to restore them.")
    headers = {
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "ETag": f'"{blob}"',
    }
    return _BlobResponse(path, headers=headers, media_type=media_type)


def _source(services: Services, path: str) -> tuple[str, str]:
    if found := _FINISHED_MANIFEST.fullmatch(path):
        artifact = artifacts.artifact(services.db, int(found[2]))
        if artifact and artifact.manifest_blob:
            return artifact.manifest_blob, "application/json"
    elif found := _OBJECT.fullmatch(path):
        digest = _digest_of_hex(found[3])
        stored = contents.stored_object(services.db, int(found[2]), digest)
        if stored and stored.blob:
            return stored.blob, "application/octet-stream"
    elif found := _RUN_FILE.fullmatch(path):
        file = runs.file_named(services.db, int(found[1]), found[2])
        if file:
            return file.blob, file.mimetype or "application/octet-stream"
    raise NotFoundError("The file at this address was deleted.")


async def artifacts_v2(request: Request) -> Response:
    """`GET /artifactsV2/…`: give one file of a version to its owner."""
    services = services_of(request)
    blob = await to_thread.run_sync(_owned_object, request, services)
    return _send(services, blob, "application/octet-stream")


def _owned_object(request: Request, services: Services) -> str:
    user = page_user(request)
    if user is None:
        raise UnauthorizedError("Downloading a file needs an API key of this server.")
    place = request.path_params
    birth = artifacts.artifact(services.db, ids.decode("Artifact", place["birth"]))
    digest = _digest_of_hex(place["digest"])
    if birth is not None and birth.user_id == user.id:
        stored = contents.stored_object(services.db, birth.id, digest)
        if stored and stored.blob:
            return stored.blob
    raise NotFoundError("There is no such file.")


def _digest_of_hex(text: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("The address has no digest in hex.") from error
