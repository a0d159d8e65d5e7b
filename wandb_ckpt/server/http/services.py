"""Services: the parts that one running server is made of, as one record on `app.state.services`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from starlette.requests import HTTPConnection

from wandb_ckpt.server.errors import DataFolderError
from wandb_ckpt.server.http.keys import Accounts
from wandb_ckpt.server.http.signing import Signer
from wandb_ckpt.server.http.unhandled import Unhandled
from wandb_ckpt.server.http.urls import Urls
from wandb_ckpt.server.store import Database
from wandb_ckpt.server.versions.blobs import Blobs

__all__ = ["Services", "open_services", "services_of"]


_REGIONS = frozenset({"default"})
# The server that W&B's own tests run against has this second one.
_TEST_REGIONS = _REGIONS | {"minio-local"}


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints and pages work with.

    Attributes:
        db: The rows.
        blobs: The bytes.
        accounts: Who may enter.
        signer: Makes and checks proofs.
        unhandled: What clients asked for in vain.
        regions: The names of storage regions that a client may ask for; all lead to the one data folder.
        assembly: Held while parts are put together.
    """

    db: Database
    blobs: Blobs
    accounts: Accounts
    signer: Signer
    unhandled: Unhandled
    regions: frozenset[str] = _REGIONS
    assembly: threading.Lock = field(default_factory=threading.Lock)

    def urls(self, connection: HTTPConnection) -> Urls:
        """Makes URLs that lead back to the host that the request was sent to."""
        return Urls(str(connection.base_url).rstrip("/"), self.signer)


@contextmanager
def open_services(data_dir: Path, *, any_key: bool = False) -> Iterator[Services]:
    """The services over one data folder, made if need be.

    Raises:
        DataFolderError: The folder can't be made or written to, or a newer version made it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        blobs = Blobs(data_dir / "blobs")
        signer = Signer.of_folder(data_dir / "secret")
    except OSError as error:
        raise DataFolderError(f"The data folder {data_dir} can't be used: {error}. Choose another one.") from error
    db = Database(data_dir / "server.db")
    try:
        regions = _TEST_REGIONS if any_key else _REGIONS
        yield Services(db, blobs, Accounts(db, any_key=any_key), signer, Unhandled(), regions)
    finally:
        db.close()


def services_of(connection: HTTPConnection) -> Services:
    """The services of the server that the request came to."""
    return cast(Services, connection.app.state.services)
