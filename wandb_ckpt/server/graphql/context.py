"""What resolvers work with: the context of a request, and the base of the classes that answer fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from wandb_ckpt.server.http.addresses import Urls
from wandb_ckpt.server.http.services import Services
from wandb_ckpt.server.store import Database
from wandb_ckpt.server.store.records import User
from wandb_ckpt.server.store.user_view import UserView
from wandb_ckpt.server.versions.blobs import Blobs

__all__ = ["Context", "Fields", "snake_case"]

_Source = TypeVar("_Source")


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one GraphQL request.

    Attributes:
        services: The parts of the server.
        view: The rows that the user may see.
        urls: Makes the addresses that the server hands out.
    """

    services: Services
    view: UserView
    urls: Urls

    @property
    def user(self) -> User:
        """The user who sends the request."""
        return self.view.user

    @property
    def db(self) -> Database:
        """The rows."""
        return self.services.db

    @property
    def blobs(self) -> Blobs:
        """The bytes."""
        return self.services.blobs


class Fields(Generic[_Source]):
    """The fields of one GraphQL type that are not simply attributes of its source.

    A field `directUrl` is answered by the attribute or method `direct_url` of the class, else by the attribute of the
    source, which usually is a record of the store. A method gets the arguments of the field.

    Args:
        context: The context of the request.
        source: What an instance of the type is made from.
    """

    def __init__(self, context: Context, source: _Source) -> None:
        self.context = context
        self.view = context.view
        self.db = context.db
        self.source = source


def snake_case(name: str) -> str:
    """Return `directUrl` as `direct_url`, `clientIDMapping` as `client_id_mapping`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
