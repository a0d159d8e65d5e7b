"""The stylesheet, the script and the icon of the pages."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from wandb_ckpt.server.errors import NotFoundError

__all__ = ["Asset", "asset", "serve_asset", "serve_icon"]

_TYPES = {
    "pages.css": "text/css; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file. The digest is the beginning of its SHA-256."""

    content: bytes
    media_type: str
    digest: str


@functools.cache
def asset(name: str) -> Asset:
    """Return the asset with a name.

    Raises:
        NotFoundError: There is none.
    """
    if name not in _TYPES:
        raise NotFoundError("There is no such file.")
    content = files(__package__).joinpath("static", name).read_bytes()
    return Asset(content, _TYPES[name], hashlib.sha256(content).hexdigest()[:16])


def serve_asset(request: Request) -> Response:
    """Return the asset that the URL names. If the URL has its digest, browsers may cache it for ever."""
    found = asset(request.path_params["name"])
    is_pinned = request.query_params.get("v") == found.digest
    etag = f'"{found.digest}"'
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if is_pinned else "no-cache",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


def serve_icon(request: Request) -> Response:
    """Return the icon to browsers that ask for it without a page."""
    request.path_params["name"] = "icon.svg"
    return serve_asset(request)
