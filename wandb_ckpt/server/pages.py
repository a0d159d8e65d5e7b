"""The HTML pages of the embedded server, for people with a browser."""

from __future__ import annotations

from starlette.routing import Route

__all__ = ["routes"]

routes: list[Route] = []
