"""Receives large request bodies into memory of the application, past the HTTP parser.

uvicorn copies every byte six times, in portions that each cost a task switch. Here, the parser gets the head of a
request and the bytes that arrive with it. From then on, asyncio receives directly into the memory of the application.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["DirectBody", "DirectProtocol", "direct_body"]

_EXTENSION = "wandb_ckpt.direct_body"
_SKIPPED_AT_ONCE = 2**16


def direct_body(request: Request, left: int) -> DirectBody | None:
    """Return what reads the rest of a body past the parser.

    Args:
        request: A request with a known length. One message of it was just received.
        left: The number of bytes of the body that come after that message.

    Returns:
        The reader of the rest, or None if the rest comes as messages.
    """
    divert = request.scope.get("extensions", {}).get(_EXTENSION)
    return cast("DirectBody | None", divert(left)) if divert else None


class DirectProtocol(H11Protocol):
    """The HTTP/1.1 of uvicorn with `direct_body()`. It owns the connection, and lends it to one body at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._app: Any = self.app
        self.app = self._run
        self._body: DirectBody | None = None

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {_EXTENSION: self._divert}
        await self._app(scope, receive, send)
        if self._body is not None:
            await self._take_back(self._body)

    def _divert(self, left: int) -> DirectBody | None:
        # The parser has more bytes, or the client is gone: the next message tells.
        if self.cycle.body or self.conn.trailing_data[0] or self.transport.is_closing():
            return None
        self.flow.pause_reading()
        self._body = DirectBody(self, left)
        self.transport.set_protocol(self._body)
        return self._body

    async def _take_back(self, body: DirectBody) -> None:
        try:
            await body.skip()
        except ClientDisconnect:
            return
        self._body = None
        # The parser still waits for the body. It knows only this request, so a new parser replaces it.
        self.conn = h11.Connection(h11.SERVER)
        self.transport.set_protocol(self)
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Called at the end of a response. The application may not have read the whole body."""
        if self._body is None:
            super().on_response_complete()


class DirectBody(asyncio.BufferedProtocol):
    """The rest of one body, and no byte more: the next request belongs to the parser."""

    def __init__(self, http: DirectProtocol, left: int) -> None:
        self._http = http
        self._room = memoryview(b"")
        self._filled: asyncio.Future[None] | None = None
        self.left = left

    async def fill(self, room: memoryview) -> int:
        """Wait until the memory is full or the body ends. Nothing else may use the memory meanwhile.

        Returns:
            The number of bytes that were read.

        Raises:
            ClientDisconnect: The client is gone.
        """
        count = min(len(room), self.left)
        if count:
            if self._http.transport.is_closing():
                raise ClientDisconnect
            self._room = room[:count]
            self._filled = asyncio.get_running_loop().create_future()
            self._http.flow.resume_reading()
            await self._filled
        return count

    async def skip(self) -> None:
        """Read and drop the rest. A client reads the answer only after it has sent everything.

        Raises:
            ClientDisconnect: The client is gone.
        """
        room = memoryview(bytearray(min(self.left, _SKIPPED_AT_ONCE)))
        while await self.fill(room):
            pass

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio calls it so)
        """Return the memory for the next bytes."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Note that bytes have arrived."""
        self.left -= nbytes
        self._room = self._room[nbytes:]
        if not self._room:
            self._http.flow.pause_reading()
            self._end_wait(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait with an error, because the client is gone."""
        self._http.connection_lost(exc)
        self._end_wait(ClientDisconnect())

    def _end_wait(self, error: Exception | None) -> None:
        # At a shutdown the wait may have been cancelled.
        if self._filled is None or self._filled.done():
            return
        if error is None:
            self._filled.set_result(None)
        else:
            self._filled.set_exception(error)

    def pause_writing(self) -> None:
        """Called when the client does not read its answer."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Called when the client reads again."""
        self._http.resume_writing()
