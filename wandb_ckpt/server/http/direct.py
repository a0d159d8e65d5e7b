"""Direct: receives large request bodies straight into the application's own memory, past the HTTP parser.

On uvicorn's ordinary way every byte is copied six times, in portions that a task switch apiece hands on. Here the
parser gets a request's head and what arrives along with it; from then on the kernel fills what the application gives.
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
    """The rest of a request's body, past the parser.

    Args:
        request: A request of a known length, of which a message has just been received.
        left: How many bytes of the body are still to come after that message.

    Returns:
        What gives the rest, in place of messages; None where this is another server, or another message comes first.
    """
    divert = request.scope.get("extensions", {}).get(_EXTENSION)
    return cast("DirectBody | None", divert(left)) if divert else None


class DirectProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, whose requests offer `direct_body()`. It owns the connection, and lends it to one body."""

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
        # What the parser has already, or that the client is gone, is told by the next message.
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
        # The parser still waits for the body. It knows nothing but this one request, so a new one takes its place.
        self.conn = h11.Connection(h11.SERVER)
        self.transport.set_protocol(self)
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Called with the end of a response, which is early where the application did not want all of the body."""
        if self._body is None:
            super().on_response_complete()


class DirectBody(asyncio.BufferedProtocol):
    """The rest of one body. It takes no byte behind it: a request that follows is the parser's."""

    def __init__(self, http: DirectProtocol, left: int) -> None:
        self._http = http
        self._room = memoryview(b"")
        self._filled: asyncio.Future[None] | None = None
        self.left = left

    async def fill(self, room: memoryview) -> int:
        """Wait until the memory is full, or the body at its end. Meanwhile nothing else may use the memory.

        Returns:
            How many bytes there are.

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
        """Let the rest go by: who still sends does not hear an answer.

        Raises:
            ClientDisconnect: The client is gone.
        """
        room = memoryview(bytearray(min(self.left, _SKIPPED_AT_ONCE)))
        while await self.fill(room):
            pass

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio calls it so)
        """Where the next bytes belong."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are there."""
        self.left -= nbytes
        self._room = self._room[nbytes:]
        if not self._room:
            self._http.flow.pause_reading()
            self._end_wait(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._http.connection_lost(exc)
        self._end_wait(ClientDisconnect())

    def _end_wait(self, error: Exception | None) -> None:
        # A wait that was cancelled, at a shutdown, is done already.
        if self._filled is None or self._filled.done():
            return
        if error is None:
            self._filled.set_result(None)
        else:
            self._filled.set_exception(error)

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._http.resume_writing()
