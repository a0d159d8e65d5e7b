"""The user behind a request, found by API key or by the session cookie of the pages."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import Response

from wandb_ckpt.server.errors import UnauthorizedError
from wandb_ckpt.server.http.services import services_of
from wandb_ckpt.server.store import accounts
from wandb_ckpt.server.store.records import User

__all__ = ["end_session", "key_user", "page_user", "start_session"]

_SESSION_SECONDS = 30 * 24 * 3600


def key_user(request: Request) -> User:
    """Return the user whose API key a request has. Every request that changes data needs an API key.

    Raises:
        UnauthorizedError: There is no valid key.
    """
    key = _basic_password(request.headers.get("authorization", ""))
    user = services_of(request).keys.user_of(key) if key else None
    if user is None:
        raise UnauthorizedError(
            "The API key is not valid for this server. Use the key that `wandb-ckpt serve` showed on its "
            "first start, for example with `wandb login --host <url of this server>`."
        )
    return user


def page_user(request: Request) -> User | None:
    """Return the user of a page, by session cookie or by API key. None means: show the login form."""
    services = services_of(request)
    parts = request.cookies.get(_cookie(request), "").split(".")
    if len(parts) == 3 and services.signer.is_valid("session", *parts):
        return accounts.user(services.db, int(parts[0]))
    try:
        return key_user(request)
    except UnauthorizedError:
        return None


def start_session(request: Request, response: Response, key: str) -> User | None:
    """Log a browser in: set the session cookie on a response. Return None if the key is not valid."""
    services = services_of(request)
    user = services.keys.user_of(key.strip())
    if user is not None:
        expires, signature = services.signer.sign("session", str(user.id), _SESSION_SECONDS)
        response.set_cookie(
            _cookie(request),
            f"{user.id}.{expires}.{signature}",
            max_age=_SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return user


def end_session(request: Request, response: Response) -> None:
    """Log a browser out: delete the session cookie."""
    response.delete_cookie(_cookie(request), httponly=True, samesite="strict")


def _cookie(request: Request) -> str:
    # Browsers send a cookie to all ports of a host. Two servers must not overwrite each other's.
    return f"wandb_ckpt_session_{request.url.port or 80}"


def _basic_password(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except ValueError:  # not Base64, or not text in it
        return None
    return decoded.partition(":")[2]
