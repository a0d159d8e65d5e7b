"""The data folder: rows in SQLite, bytes in blobs, and the secret that signatures are made with."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wandb_ckpt.server.errors import DataFolderError
from wandb_ckpt.server.store import Database
from wandb_ckpt.server.versions.blobs import Blobs

__all__ = ["DataFolder", "open_data_folder"]


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An open data folder."""

    db: Database
    blobs: Blobs
    secret: bytes


@contextlib.contextmanager
def open_data_folder(path: Path) -> Iterator[DataFolder]:
    """Open a data folder. Create it if need be.

    Raises:
        DataFolderError: The folder can't be created or written to, or a newer version of this package wrote it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        blobs = Blobs(path / "blobs")
        secret = _secret(path / "secret")
    except OSError as error:
        raise DataFolderError(f"The data folder {path} can't be used: {error}. Choose another one.") from error
    with contextlib.closing(Database(path / "server.db")) as db:
        yield DataFolder(db, blobs, secret)


def _secret(path: Path) -> bytes:
    if not path.exists():
        # A link makes the file appear as a whole, and the first of two processes wins.
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(32))
            os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            os.close(descriptor)
            aside.unlink()
    return path.read_bytes()
