"""Pages for what goes wrong: not logged in, not found, not allowed, broken."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from wandb_ckpt.server.errors import ServerError, UnauthorizedError
from wandb_ckpt.server.pages.rendering import page, paths_of

__all__ = ["FRIENDLY_ERRORS", "error_page", "login_page", "wants_page"]

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
    status = error.status if isinstance(error, ServerError) else 500
    if isinstance(error, HTTPException):
        return error_page(request, error.status_code, error.detail)
    return error_page(request, status, str(error))


def _not_logged_in(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    here = f"{request.url.path}{query}"
    # Browsers hold the cookie back on a click in another site's page, such as a notebook's link to a run.
    # Coming once more from a page of our own, they send it.
    if request.headers.get("sec-fetch-site") == "cross-site":
        return page(request, "again.html", 401, user=None, here=here)
    return login_page(request, here if request.method == "GET" else paths_of(request).home())


def _broken(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again behind this answer, so the server's log has its traceback.
    return error_page(request, 500, "This is a fault of the server. Its console says more.")


FRIENDLY_ERRORS = [
    Middleware(ServerErrorMiddleware, handler=_broken),
    Middleware(ExceptionMiddleware, handlers={ServerError: _refused, HTTPException: _refused}),
]
