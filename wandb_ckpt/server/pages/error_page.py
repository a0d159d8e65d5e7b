"""Pages for what goes wrong: not logged in, not found, not allowed, broken."""

from __future__ import annotations

from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from wandb_ckpt.server.errors import ServerError, UnauthorizedError
from wandb_ckpt.server.pages.paths import local_path
from wandb_ckpt.server.pages.rendering import page, paths_of

__all__ = ["FRIENDLY_ERRORS", "error_page", "login_page", "wants_page"]

_BOUNCED = "wandb_ckpt_once_more"
_TITLES = {
    400: "This address is not understood",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not that way",
    500: "The server failed",
}


def wants_page(request: Request) -> bool:
    """Whether a person with a browser asks, not the wandb client."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """A page that says what went wrong. It shows nothing of what is stored, so it needs no login."""
    title = _TITLES.get(status, "Something went wrong")
    return page(request, "error.html", status, user=None, title=title, message=message)


def login_page(request: Request, next_path: str, status: int = 401, error: str = "") -> Response:
    """The form that takes an API key, and leads to a page then.

    Args:
        request: What it answers.
        next_path: Where to go with a valid key.
        status: The HTTP status.
        error: Why the last try failed.
    """
    return page(request, "login.html", status, user=None, next_path=next_path, error=error)


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, UnauthorizedError):
        return _not_logged_in(request)
    if isinstance(error, HTTPException):
        return error_page(request, error.status_code, error.detail)
    return error_page(request, error.status if isinstance(error, ServerError) else 500, str(error))


def _not_logged_in(request: Request) -> Response:
    home = paths_of(request).home()
    here = local_path(_address(request), home) if request.method == "GET" else home
    if request.headers.get("sec-fetch-site") == "cross-site" and _BOUNCED not in request.cookies:
        return _once_more(request, here)
    return login_page(request, here)


def _once_more(request: Request, here: str) -> Response:
    # Browsers hold the cookie back on a click in another site's page, such as a notebook's link to a run.
    # Coming again from a page of our own, they send it. The mark keeps any browser from going in circles.
    response = page(request, "again.html", 401, user=None, here=here)
    response.set_cookie(_BOUNCED, "1", max_age=10, httponly=True, samesite="lax")
    return response


def _address(request: Request) -> str:
    # Quoted again: in a decoded path a backslash or a question mark would lead somewhere else.
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(request.scope["path"]) + query


def _broken(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again behind this answer, so the server's log has its traceback.
    return error_page(request, 500, "This is a fault of the server. Its console says more.")


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


FRIENDLY_ERRORS = [
    Middleware(ServerErrorMiddleware, handler=_broken),
    Middleware(
        ExceptionMiddleware, handlers={ServerError: _refused, HTTPException: _refused, ClientDisconnect: _gone}
    ),
]
