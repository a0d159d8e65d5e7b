"""Uploads of artifact files, manifests and run files: `PUT /storage/…`.

The client sends no API key to storage, so the addresses are signed.
"""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.http import addresses
from wandb_ckpt.server.http.bodies import BodyReader
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.store import contents, runs
from wandb_ckpt.server.versions.blobs import Blob, BlobWriter

__all__ = ["put"]

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class _Target:
    """What an upload is for: the MD5 that it must have, and how to note that it is stored."""

    md5: str | None
    note: Callable[[Blob], None]


async def put(request: Request) -> Response:
    """Store the bytes of an upload. It is noted only after the bytes are checked and safe."""
    services = services_of(request)
    path = addresses.signed_path(request, services.signer, "PUT")
    target = await to_thread.run_sync(_target, services, path, request.headers.get("content-type"))
    body = BodyReader(request)
    with services.blobs.writer() as writer:
        last_piece = await _receive(body, writer)
        blob = await to_thread.run_sync(_finish, writer, last_piece, body.size, target)
    etag = base64.b64decode(blob.md5).hex()
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


async def _receive(body: BodyReader, writer: BlobWriter) -> memoryview:
    """Write what arrives, except for the last piece, which is returned."""
    # A thread hashes and writes one piece, which both release Python's lock, while the next piece arrives. Two
    # buffers take turns: with new memory for each piece, page faults would cost more than the hashing.
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
        # Also when the client is gone: the file must not be closed while the thread writes to it.
        if writing is not None:
            await writing


def _finish(writer: BlobWriter, last_piece: memoryview, size: int | None, target: _Target) -> Blob:
    # One call in a thread: most files are small, and a change of threads costs more than writing them.
    writer.write(last_piece)
    blob = writer.finish(size=size, md5=target.md5)
    target.note(blob)
    return blob


def _target(services: Services, path: str, mimetype: str | None) -> _Target:
    if found := addresses.OBJECT.fullmatch(path):
        return _object_target(services, int(found[2]), found[3])
    if found := addresses.PART.fullmatch(path):
        return _part_target(services, int(found[2]), found[3], int(found[4]))
    if found := addresses.MANIFEST_UPLOAD.fullmatch(path):
        return _manifest_target(services, int(found[1]))
    if found := addresses.RUN_FILE.fullmatch(path):
        return _run_file_target(services, int(found[1]), found[2], mimetype)
    raise NotFoundError("There is nothing to upload to at this address.")


def _object_target(services: Services, artifact_id: int, hex_digest: str) -> _Target:
    announced = contents.stored_object(services.db, artifact_id, addresses.digest_of_hex(hex_digest))
    if announced is None:
        raise NotFoundError("The file of this address is no longer expected.")
    return _Target(
        announced.md5, lambda blob: contents.set_object_blob(services.db, announced.id, blob.id, blob.size)
    )


def _part_target(services: Services, artifact_id: int, hex_digest: str, number: int) -> _Target:
    whole = contents.stored_object(services.db, artifact_id, addresses.digest_of_hex(hex_digest))
    announced = contents.part(services.db, whole.id, number) if whole else None
    if announced is None:
        raise NotFoundError("The part of this address is no longer expected.")
    object_id = announced.object_id
    return _Target(
        announced.md5, lambda blob: contents.set_part_blob(services.db, object_id, number, blob.id, blob.size)
    )


def _manifest_target(services: Services, manifest_id: int) -> _Target:
    announced = contents.manifest(services.db, manifest_id)
    if announced is None:
        raise NotFoundError("The manifest of this address is no longer expected.")
    return _Target(
        announced.digest or None, lambda blob: contents.set_manifest_blob(services.db, manifest_id, blob.id)
    )


def _run_file_target(services: Services, run_id: int, name: str, mimetype: str | None) -> _Target:
    if runs.run(services.db, run_id) is None:
        raise NotFoundError("The run of this address was deleted.")
    kind = mimetypes.guess_type(name)[0] or mimetype

    def note(blob: Blob) -> None:
        runs.put_file(services.db, run_id, name, blob=blob.id, size=blob.size, md5=blob.md5, mimetype=kind)

    return _Target(None, note)
