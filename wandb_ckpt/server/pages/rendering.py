"""Rendering: a template and what it shows become an HTML response with the headers that all pages have."""

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
    # Not no-referrer: browsers would then send "Origin: null" with the login form.
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie, Authorization",
    "X-Content-Type-Options": "nosniff",
}


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """One page.

    Args:
        request: What it answers.
        template: The name of the template's file.
        status: The HTTP status.
        context: What the template shows. `user` is the one who is logged in, or None.
    """
    paths = paths_of(request)
    html = _environment().get_template(template).render(to=paths, asset_path=_asset_path(paths), **context)
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def paths_of(request: Request) -> Paths:
    """Where the pages are for this request."""
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
    # Everything a template puts out passes here, before it is escaped: no page can forget it.
    return value if isinstance(value, Markup) or not isinstance(value, str) else formats.visible(value)
