"""Hosts: answers only requests that were addressed to this server by one of its own names.

A page on the internet can make a browser send requests to a loopback server under a name that it controls (DNS
rebinding); the name is then in the Host header. That header also decides where signed addresses point to.
"""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HostCheck", "is_allowed"]

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-_]+)(?::\d{1,5})?", re.ASCII)
_ALWAYS = frozenset({"127.0.0.1", "localhost", "::1"})


def is_allowed(host_header: str, bound_host: str) -> bool:
    """Whether a server bound to `bound_host` answers a request with this Host header.

    Bound to all addresses (0.0.0.0, ::), any numeric address will do: a rebinding page always has a name.
    """
    found = _HOST.fullmatch(host_header)
    if not found:
        return False
    host = found[1].strip("[]").lower()
    if host in _ALWAYS or host == bound_host.lower():
        return True
    return bound_host in {"0.0.0.0", "::", ""} and _is_address(host)  # noqa: S104 (compared with, not bound to)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class HostCheck:
    """Middleware that refuses foreign Host headers.

    Args:
        app: What answers the others.
        bound_host: The host that the server listens on.
    """

    def __init__(self, app: ASGIApp, bound_host: str) -> None:
        self._app = app
        self._bound_host = bound_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] == "http" and not is_allowed(Headers(scope=scope).get("host", ""), self._bound_host):
            message = "This server does not answer to that host name. Use 127.0.0.1, localhost or the bound host."
            response = JSONResponse({"errors": [{"message": message}]}, 403)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)
