"""The parts of a running server, which all requests share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from starlette.requests import HTTPConnection

from wandb_ckpt.server.http.addresses import Signer, Urls
from wandb_ckpt.server.http.keys import ApiKeys
from wandb_ckpt.server.store import Database
from wandb_ckpt.server.versions.blobs import Blobs
from wandb_ckpt.server.versions.data_folder import open_data_folder

__all__ = ["Services", "Unhandled", "UnhandledRequest", "open_services", "services_of"]

_REGIONS = frozenset({"default"})
# The server that the tests of wandb run on has this second one.
_TEST_REGIONS = _REGIONS | {"minio-local"}
_MOST_UNHANDLED = 1000


@dataclass(frozen=True, slots=True)
class UnhandledRequest:
    """A request that the server does not know.

    Attributes:
        operation: The name of the GraphQL operation, or the method and path of another request.
        what: What is unknown about it.
        variables: The names of the variables of the operation.
    """

    operation: str
    what: str
    variables: tuple[str, ...] = ()


class Unhandled:
    """The unknown requests, oldest first. The first thousand are kept."""

    def __init__(self) -> None:
        self._requests: list[UnhandledRequest] = []
        self._lock = threading.Lock()

    def add(self, operation: str, what: str, variables: Iterable[str] = ()) -> None:
        """Note an unknown request."""
        with self._lock:
            if len(self._requests) < _MOST_UNHANDLED:
                self._requests.append(UnhandledRequest(operation, what, tuple(variables)))

    def all(self) -> tuple[UnhandledRequest, ...]:
        """Return the requests that were noted since the last `clear()`."""
        with self._lock:
            return tuple(self._requests)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._requests.clear()


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a running server.

    Attributes:
        db: The rows.
        blobs: The bytes.
        keys: The API keys.
        signer: Signs addresses and sessions.
        unhandled: The requests that the server does not know.
        regions: The storage regions that a client may name. All are the one data folder.
        assembly: The lock for joining the parts of an upload.
    """

    db: Database
    blobs: Blobs
    keys: ApiKeys
    signer: Signer
    unhandled: Unhandled = field(default_factory=Unhandled)
    regions: frozenset[str] = _REGIONS
    assembly: threading.Lock = field(default_factory=threading.Lock)

    def urls(self, connection: HTTPConnection) -> Urls:
        """Return what makes addresses on the host that a request was sent to."""
        return Urls(str(connection.base_url).rstrip("/"), self.signer)


@contextlib.contextmanager
def open_services(data_dir: Path, *, any_key: bool = False) -> Iterator[Services]:
    """Open a data folder and the services on it. Create the folder if need be.

    Raises:
        DataFolderError: The folder can't be created or written to, or a newer version of this package wrote it.
    """
    with open_data_folder(data_dir) as folder:
        yield Services(
            folder.db,
            folder.blobs,
            ApiKeys(folder.db, any_key=any_key),
            Signer(folder.secret),
            regions=_TEST_REGIONS if any_key else _REGIONS,
        )


def services_of(connection: HTTPConnection) -> Services:
    """Return the services of the server that a request was sent to."""
    return cast(Services, connection.app.state.services)
