"""Downloads of artifact files, manifests and run files.

Signed addresses (`/storage/…`) need no API key. The client uses `/artifactsV2/…` with its key for files whose signed
address it does not know.
"""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import NotFoundError, UnauthorizedError
from wandb_ckpt.server.http import addresses
from wandb_ckpt.server.http.access import page_user
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.store import artifacts, contents, runs

__all__ = ["blob_response", "get", "get_by_digest"]


class _BlobResponse(FileResponse):
    # Each piece is a change of threads. With the 64 KiB of Starlette, a download takes several times as long.
    chunk_size = 2**20


def blob_response(
    services: Services, blob: str, media_type: str = "application/octet-stream", filename: str | None = None
) -> Response:
    """Return a blob, or the range of it that is requested. A browser saves it, and never runs it.

    Raises:
        NotFoundError: The bytes are missing.
    """
    path = services.blobs.path(blob)
    if not path.is_file():
        raise NotFoundError("The bytes of this file are missing from the data folder. Log it again to restore them.")
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": f'"{blob}"',
    }
    if filename is None:
        headers["Content-Disposition"] = "attachment"
    return _BlobResponse(path, headers=headers, media_type=media_type, filename=filename)


async def get(request: Request) -> Response:
    """Answer `GET /storage/…`."""
    services = services_of(request)
    path = addresses.signed_path(request, services.signer, "GET")
    blob, media_type = await to_thread.run_sync(_source, services, path)
    return blob_response(services, blob, media_type)


def _source(services: Services, path: str) -> tuple[str, str]:
    if found := addresses.MANIFEST.fullmatch(path):
        artifact = artifacts.artifact(services.db, int(found[2]))
        if artifact and artifact.manifest_blob:
            return artifact.manifest_blob, "application/json"
    elif found := addresses.OBJECT.fullmatch(path):
        stored = contents.stored_object(services.db, int(found[2]), addresses.digest_of_hex(found[3]))
        if stored and stored.blob:
            return stored.blob, "application/octet-stream"
    elif found := addresses.RUN_FILE.fullmatch(path):
        file = runs.file_named(services.db, int(found[1]), found[2])
        if file:
            return file.blob, file.mimetype or "application/octet-stream"
    raise NotFoundError("The file of this address was deleted.")


async def get_by_digest(request: Request) -> Response:
    """Answer `GET /artifactsV2/…`: return a file of a version to its owner."""
    services = services_of(request)
    return blob_response(services, await to_thread.run_sync(_owned_blob, request, services))


def _owned_blob(request: Request, services: Services) -> str:
    user = page_user(request)
    if user is None:
        raise UnauthorizedError("Downloading a file needs an API key of this server.")
    birth = artifacts.artifact(services.db, ids.decode("Artifact", request.path_params["birth"]))
    digest = addresses.digest_of_hex(request.path_params["digest"])
    if birth is not None and birth.user_id == user.id:
        stored = contents.stored_object(services.db, birth.id, digest)
        if stored and stored.blob:
            return stored.blob
    raise NotFoundError("There is no such file.")
