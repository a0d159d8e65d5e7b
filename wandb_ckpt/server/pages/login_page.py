"""Logs browsers in with an API key, and out."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from wandb_ckpt.server.errors import ForbiddenError, InvalidRequestError
from wandb_ckpt.server.http.access import end_session, page_user, start_session
from wandb_ckpt.server.pages.error_page import FRIENDLY_ERRORS, login_page
from wandb_ckpt.server.pages.paths import local_path
from wandb_ckpt.server.pages.rendering import paths_of

__all__ = ["login_routes"]

_LARGEST_FORM = 16_384
_REFUSED = "This server does not know this key. The server shows it once, on its first start."


def _show_form(request: Request) -> Response:
    home = paths_of(request).home()
    next_path = local_path(request.query_params.get("next", ""), home)
    if page_user(request) is not None:
        return RedirectResponse(next_path, 303)
    return login_page(request, next_path, 200)


async def _log_in(request: Request) -> Response:
    _check_origin(request)
    form = await _form(request)
    next_path = local_path(form.get("next", ""), paths_of(request).home())
    response = RedirectResponse(next_path, 303)
    if await run_in_threadpool(start_session, request, response, form.get("key", "")) is None:
        return await run_in_threadpool(login_page, request, next_path, 401, _REFUSED)
    return response


def _log_out(request: Request) -> Response:
    _check_origin(request)
    response = RedirectResponse(paths_of(request).login(), 303)
    end_session(request, response)
    return response


def _check_origin(request: Request) -> None:
    # Behind a proxy that ends TLS, the scheme may differ, but not the host.
    origin = request.headers.get("origin")
    is_foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if is_foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ForbiddenError("The form was sent from another site. Open the login page of this server.")


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_FORM:
            raise InvalidRequestError("The form is too large for a login.")
    # The form parser of Starlette needs one more package.
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


login_routes = [
    Route("/login", _show_form, middleware=FRIENDLY_ERRORS),
    Route("/login", _log_in, methods=["POST"], middleware=FRIENDLY_ERRORS),
    Route("/logout", _log_out, methods=["POST"], middleware=FRIENDLY_ERRORS),
]
