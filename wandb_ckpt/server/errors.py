"""What can go wrong in the embedded server, each on the built-in error it is a kind of."""

from __future__ import annotations

__all__ = [
    "BlobMismatchError",
    "ConflictError",
    "DataFolderError",
    "ForbiddenError",
    "InvalidRequestError",
    "NotFoundError",
    "PortInUseError",
    "ServerError",
    "UnauthorizedError",
]


class ServerError(Exception):
    """An error of the embedded server. `status` is the HTTP status that it maps to.

    In a GraphQL answer most errors travel with status 200 in `errors`, because the client then shows
    their message as it is instead of the raw JSON.
    """

    status = 500


class NotFoundError(ServerError, LookupError):
    """Something that a request names does not exist, or is another user's."""

    status = 404


class InvalidRequestError(ServerError, ValueError):
    """A request carries a value that is not allowed."""

    status = 400


class UnauthorizedError(ServerError, PermissionError):
    """A request has no valid API key."""

    status = 401


class ForbiddenError(ServerError, PermissionError):
    """A request is for something that its user may not touch, or its signature does not hold."""

    status = 403


class ConflictError(ServerError, ValueError):
    """A request contradicts what is already there, for example a version under another type."""

    status = 409


class BlobMismatchError(ServerError, ValueError):
    """Uploaded bytes are not the announced ones: length or digest differ. They were thrown away."""

    status = 400


class PortInUseError(ServerError, OSError):
    """The server can't listen where it was asked to."""


class DataFolderError(ServerError, RuntimeError):
    """The data folder can't be used: made by a newer version, or not writable."""
