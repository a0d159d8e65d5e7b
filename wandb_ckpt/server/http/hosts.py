"""Refuses requests that are addressed to another host name.

With DNS rebinding, a page on the internet can make a browser send requests to a server on the user's own machine. The
Host header then has a name of the attacker. Signed addresses also use the name in that header.
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
    """Return whether a server that is bound to `bound_host` answers a request with this Host header.

    If it is bound to all addresses (0.0.0.0, ::), it answers to any numeric address: DNS rebinding needs a name.
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
    """Middleware that refuses other host names.

    Args:
        app: The application that answers the other requests.
        bound_host: The host that the server listens on.
    """

    def __init__(self, app: ASGIApp, bound_host: str) -> None:
        self._app = app
        self._bound_host = bound_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or pass the request on."""
        if scope["type"] == "http" and not is_allowed(Headers(scope=scope).get("host", ""), self._bound_host):
            message = "This server does not answer to that host name. Use 127.0.0.1, localhost or the bound host."
            response = JSONResponse({"errors": [{"message": message}]}, 403)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)
