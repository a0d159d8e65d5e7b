"""Reads the bodies of requests: JSON up to a limit, also gzipped, and everything else in pieces."""

from __future__ import annotations

import zlib
from typing import Any

from starlette.requests import ClientDisconnect, Request

from wandb_ckpt.server import json_text
from wandb_ckpt.server.errors import InvalidRequestError
from wandb_ckpt.server.http.upload_receiver import DirectBody, direct_body

__all__ = ["BodyReader", "RequestTooLargeError", "read_json"]


class RequestTooLargeError(InvalidRequestError):
    """The body of a request is too large."""

    status = 413


async def read_json(request: Request, most_bytes: int) -> Any:
    """Return the JSON value in the body of a request.

    Raises:
        InvalidRequestError: It is not JSON, or not valid Unicode.
        RequestTooLargeError: It is larger than `most_bytes`, compressed or not.
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


class BodyReader:
    """Reads a body in pieces, into memory of the caller.

    Args:
        request: The request. Nothing else may read its body.

    Attributes:
        size: The announced length in bytes, or None.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.size = _announced_size(request)
        self._left = self.size
        self._message = memoryview(b"")
        self._more = self.size != 0
        self._direct: DirectBody | None = None

    @property
    def ended(self) -> bool:
        """Whether the whole body was read."""
        return not (self._more or self._message)

    async def fill(self, room: memoryview) -> int:
        """Wait until the memory is full or the body ends. Nothing else may use the memory meanwhile.

        Returns:
            The number of bytes that were read.

        Raises:
            ClientDisconnect: The client is gone.
        """
        filled = 0
        while filled < len(room) and not self.ended:
            if self._message:
                filled += self._take(room[filled:])
            elif self._direct:
                filled += await self._direct.fill(room[filled:])
                self._more = self._direct.left > 0
            else:
                await self._receive()
        return filled

    def _take(self, room: memoryview) -> int:
        count = min(len(room), len(self._message))
        room[:count] = self._message[:count]
        self._message = self._message[count:]
        return count

    async def _receive(self) -> None:
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._message = memoryview(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._left is not None and self._more:
            self._left -= len(self._message)
            self._direct = direct_body(self._request, self._left)


def _announced_size(request: Request) -> int | None:
    # With chunked encoding, a length is void (RFC 9112, 6.3).
    announced = request.headers.get("content-length", "")
    valid = announced.isascii() and announced.isdecimal() and "transfer-encoding" not in request.headers
    return int(announced) if valid else None
