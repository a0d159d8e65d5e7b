"""App: the route table and the lifespan, nothing else."""

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
from wandb_ckpt.server.http import file_stream, storage
from wandb_ckpt.server.http.hosts import HostCheck
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.http.unhandled import UnhandledRequest

__all__ = ["create_app"]

_log = logging.getLogger("wandb_ckpt.server")
_V2 = "/artifactsV2/{region}/{entity}/{project}/{collection}"


def create_app(services: Services, host: str) -> Starlette:
    """The application over open services, for a server that listens on `host`."""
    load_schema()
    app = Starlette(
        routes=[
            Route("/graphql", graphql.endpoint, methods=["POST"]),
            Route("/files/{entity}/{project}/{run}/file_stream", file_stream.endpoint, methods=["POST"]),
            Route("/storage/{path:path}", storage.put, methods=["PUT"]),
            Route("/storage/{path:path}", storage.get, methods=["GET"]),
            Route(_V2 + "/{artifact}/{birth}/{digest}/{name:path}", storage.artifacts_v2),
            Route(_V2 + "/{birth}/{digest}/{name:path}", storage.artifacts_v2),
            Route("/healthz", _healthy),
            Route("/ready", _healthy),
            # The client's telemetry asks here whether it is wanted; 404 is the answer that silences it.
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
    # A browser asks for this and that by itself; a client with a key knows what it wants.
    if request.method != "GET" or "authorization" in request.headers:
        services_of(request).unhandled.add(UnhandledRequest(place, "no such route"))
    return JSONResponse({"errors": [{"message": f"This server does not know {place}."}]}, 404)


async def _failed(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, ServerError) else 500
    headers = {"WWW-Authenticate": 'Basic realm="wandb-ckpt"'} if status == 401 else None
    return JSONResponse({"errors": [{"message": str(error)}]}, status, headers)


async def _disk_failed(request: Request, error: Exception) -> Response:
    # 507 is an answer that the client tries again after: the disk may have room by then.
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
