"""The application: the table of routes, and the answers to errors."""

# ruff: noqa: ARG001 (Starlette calls with these arguments)
from __future__ import annotations

import logging
import sqlite3
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from wandb_ckpt.server import pages
from wandb_ckpt.server.errors import ServerError
from wandb_ckpt.server.graphql import endpoint as graphql
from wandb_ckpt.server.graphql.binding import load_schema
from wandb_ckpt.server.http import downloads, file_stream, uploads
from wandb_ckpt.server.http.hosts import HostCheck
from wandb_ckpt.server.http.services import Services, services_of

__all__ = ["create_app"]

_log = logging.getLogger("wandb_ckpt.server")
_V2 = "/artifactsV2/{region}/{entity}/{project}/{collection}"


def create_app(services: Services, host: str) -> Starlette:
    """Return the application for open services and a server that listens on `host`."""
    load_schema()
    app = Starlette(
        routes=[
            Route("/graphql", graphql.endpoint, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", file_stream.endpoint, methods=["POST"]),
            Route("/storage/{path:path}", uploads.put, methods=["PUT"]),
            Route("/storage/{path:path}", downloads.get, methods=["GET"]),
            Route(_V2 + "/{artifact}/{birth}/{digest}/{name:path}", downloads.get_by_digest),
            Route(_V2 + "/{birth}/{digest}/{name:path}", downloads.get_by_digest),
            Route("/healthz", _healthy),
            Route("/ready", _healthy),
            # The telemetry of the client asks here whether it is wanted. 404 turns it off.
            Mount("/sdk/otel", routes=[]),
            *pages.routes,
            Route("/{path:path}", _not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
        middleware=[Middleware(HostCheck, bound_host=host)],
        exception_handlers=_EXCEPTION_HANDLERS,
    )
    app.state.services = services
    return app


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _not_found(request: Request) -> Response:
    if pages.wants_page(request):
        return pages.error_page(request, 404, "There is no such page.")
    place = f"{request.method} {request.url.path}"
    # Browsers ask for various files by themselves. A client with a key means what it asks for.
    if request.method != "GET" or "authorization" in request.headers:
        services_of(request).unhandled.add(place, "no such route")
    return JSONResponse({"errors": [{"message": f"This server does not know {place}."}]}, 404)


async def _failed(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, ServerError) else 500
    headers = {"WWW-Authenticate": 'Basic realm="wandb-ckpt"'} if status == 401 else None
    return JSONResponse({"errors": [{"message": str(error)}]}, status, headers)


async def _disk_failed(request: Request, error: Exception) -> Response:
    # The client tries again after 507. The disk may have room by then.
    _log.error("%s %s failed: %s", request.method, request.url.path, error)
    return JSONResponse({"errors": [{"message": f"The server can't write: {error}."}]}, 507)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


_EXCEPTION_HANDLERS: Any = {
    ServerError: _failed,
    sqlite3.OperationalError: _disk_failed,
    OSError: _disk_failed,
    ClientDisconnect: _gone,
}
