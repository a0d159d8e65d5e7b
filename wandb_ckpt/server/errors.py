"""The errors of the embedded server. Each is also a built-in error."""

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
    """An error of the embedded server, with its HTTP status.

    A GraphQL answer with an error usually has status 200, because the client then shows the message and not the JSON.
    """

    status = 500


class NotFoundError(ServerError, LookupError):
    """Something does not exist, or belongs to another user."""

    status = 404


class InvalidRequestError(ServerError, ValueError):
    """A request has a value that is not allowed."""

    status = 400


class UnauthorizedError(ServerError, PermissionError):
    """A request has no valid API key."""

    status = 401


class ForbiddenError(ServerError, PermissionError):
    """The user may not do this, or the signature of an address is not valid."""

    status = 403


class ConflictError(ServerError, ValueError):
    """A request contradicts existing data, for example with another artifact type."""

    status = 409


class BlobMismatchError(ServerError, ValueError):
    """The length or digest of uploaded bytes is not the announced one. The bytes are discarded."""

    status = 400


class PortInUseError(ServerError, OSError):
    """The server can't listen at its address."""


class DataFolderError(ServerError, RuntimeError):
    """The data folder can't be used: it is not writable, or a newer version of this package wrote it."""
