"""Renders templates as HTML responses, with the headers of all pages."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from wandb_ckpt.server.pages import formats
from wandb_ckpt.server.pages.assets import asset
from wandb_ckpt.server.pages.markdown import markdown
from wandb_ckpt.server.pages.paths import Paths, get_command, restore_line

__all__ = ["page", "paths_of"]

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "private, no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    # With no-referrer, browsers would send "Origin: null" with the login form.
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie, Authorization",
    "X-Content-Type-Options": "nosniff",
}


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Return a page.

    Args:
        request: The request.
        template: The file name of the template.
        status: The HTTP status.
        context: The variables of the template. `user` is the user who is logged in, or None.
    """
    paths = paths_of(request)
    html = _environment().get_template(template).render(to=paths, asset_path=_asset_path(paths), **context)
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def paths_of(request: Request) -> Paths:
    """Return the paths of the pages for a request."""
    return Paths(request.scope.get("root_path", ""))


def _asset_path(paths: Paths) -> Any:
    return lambda name: paths.static(name, asset(name).digest)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.globals.update(
        get_command=get_command,
        restore_line=restore_line,
        missing=formats.MISSING,
        package_version=importlib.metadata.version("wandb-ckpt"),
    )
    names = ("age", "count", "duration", "later", "moment", "number", "pretty", "shortened", "signed", "size")
    environment.filters.update({name: getattr(formats, name) for name in names}, markdown=markdown)
    return environment


def _finalize(value: Any) -> Any:
    # All output of templates passes here before it is escaped, so no page can forget it.
    return value if isinstance(value, Markup) or not isinstance(value, str) else formats.visible(value)
