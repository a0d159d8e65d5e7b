"""Visits: a request for a page by someone who is logged in, and the routes that lead to one."""

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
from wandb_ckpt.server.store import Database, overview
from wandb_ckpt.server.store.overview import CollectionSummary, VersionSummary
from wandb_ckpt.server.store.records import Project, User

__all__ = ["Visit", "page_route"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page. Its `find…` methods look up what the URL names, or raise `NotFoundError`."""

    request: Request
    services: Services
    user: User

    @property
    def db(self) -> Database:
        """Where the rows are."""
        return self.services.db

    @property
    def to(self) -> Paths:
        """Where the other pages are."""
        return paths_of(self.request)

    def named(self, part: str) -> str:
        """A part of the URL's path."""
        return str(self.request.path_params[part])

    def asked(self, name: str) -> str:
        """A part of the URL's query, or ""."""
        return self.request.query_params.get(name, "")

    def page(self, template: str, **context: Any) -> Response:
        """The answer."""
        return page(self.request, template, user=self.user, **context)

    def find_entity(self) -> User:
        """The entity: nobody sees those of others."""
        if self.named("entity") != self.user.name:
            raise NotFoundError(f"There is no entity “{self.named('entity')}” that your key opens.")
        return self.user

    def find_project(self) -> Project:
        """The project."""
        found = overview.find_project(self.db, self.find_entity().id, self.named("project"))
        if found is None:
            raise NotFoundError(f"There is no project “{self.named('project')}” here.")
        return found

    def find_collection(self) -> CollectionSummary:
        """The collection; one of another type counts too, because a type can be changed."""
        found = overview.find_collection(self.db, self.find_project().id, self.named("name"))
        if found is None:
            raise NotFoundError(f"There is no artifact “{self.named('name')}” in “{self.named('project')}”.")
        return found

    def find_version(self, collection: CollectionSummary, name: str) -> VersionSummary:
        """A version of a collection by `vN` or alias."""
        found = overview.find_version(self.db, collection.id, name)
        if found is None:
            raise NotFoundError(f"“{collection.name}” has no version or alias “{name}”.")
        return found


def page_route(path: str, show: Callable[[Visit], Response]) -> Route:
    """A route to a page that only those who are logged in see; others get the login form."""

    def endpoint(request: Request) -> Response:
        user = page_user(request)
        if user is None:
            raise UnauthorizedError("Log in to see this page.")
        return show(Visit(request, services_of(request), user))

    return Route(path, endpoint, name=show.__name__, middleware=FRIENDLY_ERRORS)
