"""Requests for pages by users who are logged in, and the routes to these pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wandb_ckpt.server.errors import NotFoundError, UnauthorizedError
from wandb_ckpt.server.http.access import page_user
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.pages.error_page import FRIENDLY_ERRORS
from wandb_ckpt.server.pages.paths import Paths
from wandb_ckpt.server.pages.rendering import page, paths_of
from wandb_ckpt.server.store import Database, page_rows
from wandb_ckpt.server.store.page_rows import CollectionSummary, VersionSummary
from wandb_ckpt.server.store.records import Project, User
from wandb_ckpt.server.store.user_view import UserView

__all__ = ["Visit", "page_route"]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page. The `find…` methods return what the URL names, or raise `NotFoundError`."""

    request: Request
    services: Services
    view: UserView

    @property
    def db(self) -> Database:
        """The rows."""
        return self.services.db

    @property
    def user(self) -> User:
        """The user who is logged in."""
        return self.view.user

    @property
    def to(self) -> Paths:
        """The paths of the other pages."""
        return paths_of(self.request)

    def named(self, part: str) -> str:
        """Return a part of the path of the URL."""
        return str(self.request.path_params[part])

    def asked(self, name: str) -> str:
        """Return a part of the query of the URL, or ""."""
        return self.request.query_params.get(name, "")

    def page(self, template: str, **context: Any) -> Response:
        """Return a page."""
        return page(self.request, template, user=self.user, **context)

    def find_project(self) -> Project:
        """Return the project."""
        return self.view.project(self.named("entity"), self.named("project"))

    def find_collection(self) -> CollectionSummary:
        """Return the collection, also if its type is not that of the URL, because a type can be changed."""
        found = page_rows.find_collection(self.db, self.find_project().id, self.named("name"))
        if found is None:
            raise NotFoundError(f"There is no artifact “{self.named('name')}” in “{self.named('project')}”.")
        return found

    def find_version(self, collection: CollectionSummary, name: str) -> VersionSummary:
        """Return a version of a collection by `vN` or alias."""
        found = page_rows.find_version(self.db, collection.id, name)
        if found is None:
            raise NotFoundError(f"“{collection.name}” has no version or alias “{name}”.")
        return found


def page_route(path: str, show: Callable[[Visit], Response]) -> Route:
    """Return a route to a page. Visitors who are not logged in get the login form."""

    def endpoint(request: Request) -> Response:
        user = page_user(request)
        if user is None:
            raise UnauthorizedError("Log in to see this page.")
        services = services_of(request)
        return show(Visit(request, services, UserView(services.db, user)))

    return Route(path, endpoint, name=show.__name__, middleware=FRIENDLY_ERRORS)
