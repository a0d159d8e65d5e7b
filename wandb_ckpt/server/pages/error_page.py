"""Pages for errors, and the login form."""

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
    400: "Invalid address",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    500: "Server error",
}


def wants_page(request: Request) -> bool:
    """Return whether a browser asks for a page, and not the wandb client for data."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """Return the page for an error. It shows no stored data, so it needs no login."""
    title = _TITLES.get(status, "Something went wrong")
    return page(request, "error.html", status, user=None, title=title, message=message[:1].upper() + message[1:])


def login_page(request: Request, next_path: str, status: int = 401, error: str = "") -> Response:
    """Return the login form.

    Args:
        request: The request.
        next_path: The page to show after the login.
        status: The HTTP status.
        error: Why the last login failed.
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
    # A browser sends no cookie after a click on a link of another site, such as the link to a run in a notebook. It
    # sends the cookie when this page leads it here again. The second cookie prevents a loop.
    response = page(request, "again.html", 401, user=None, here=here)
    response.set_cookie(_BOUNCED, "1", max_age=10, httponly=True, samesite="lax")
    return response


def _address(request: Request) -> str:
    # Quoted again, because a backslash or a question mark in the decoded path would change where it leads.
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(request.scope["path"]) + query


def _broken(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this answer, so the log has the traceback.
    return error_page(request, 500, "This is a bug of the server. See its console for details.")


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


FRIENDLY_ERRORS = [
    Middleware(ServerErrorMiddleware, handler=_broken),
    Middleware(
        ExceptionMiddleware, handlers={ServerError: _refused, HTTPException: _refused, ClientDisconnect: _gone}
    ),
]
