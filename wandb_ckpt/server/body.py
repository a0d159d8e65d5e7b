"""Body: reads what a request carries, up to a limit, unpacked if it was gzipped."""

from __future__ import annotations

import zlib
from typing import Any

from starlette.requests import Request

from wandb_ckpt.server import json_text
from wandb_ckpt.server.errors import InvalidRequestError

__all__ = ["RequestTooLargeError", "read_json"]


class RequestTooLargeError(InvalidRequestError):
    """A request's body is larger than this server takes."""

    status = 413


async def read_json(request: Request, most_bytes: int) -> Any:
    """The JSON value that a request carries.

    Raises:
        InvalidRequestError: It is not JSON, or not valid Unicode.
        RequestTooLargeError: It is larger than `most_bytes`, packed or unpacked.
    """
    data = await _read(request, most_bytes)
    try:
        return json_text.load(data)
    except ValueError as error:
        raise InvalidRequestError(f"The request is not valid JSON: {error}.") from error


async def _read(request: Request, most_bytes: int) -> bytes:
    gzipped = request.headers.get("content-encoding", "").lower() == "gzip"
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if gzipped else None
    data = bytearray()
    async for chunk in request.stream():
        try:
            data += unpack.decompress(chunk, most_bytes + 1 - len(data)) if unpack else chunk
        except zlib.error as error:
            raise InvalidRequestError(f"The request is not valid gzip: {error}.") from error
        if len(data) > most_bytes:
            raise RequestTooLargeError(f"The request is larger than {most_bytes} bytes.")
    return bytes(data)
