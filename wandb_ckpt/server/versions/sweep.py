"""Frees what nothing needs any more: abandoned uploads, expired versions, and the bytes of deleted ones."""

from __future__ import annotations

import contextlib
import datetime
import logging
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wandb_ckpt.server.store import Database, artifacts, garbage
from wandb_ckpt.server.store.records import timestamp
from wandb_ckpt.server.versions.blobs import Blobs
from wandb_ckpt.server.versions.data_folder import open_data_folder
from wandb_ckpt.server.versions.removal import delete_version

__all__ = ["Freed", "collect_garbage", "sweep", "sweeping"]

_log = logging.getLogger("wandb_ckpt.server")
# A client may continue an upload hours after the connection broke. The retries of wandb end after a week.
_PENDING_SECONDS = 7 * 24 * 3600
# The row that refers to a blob is written milliseconds after the blob. An hour is far on the safe side.
_BLOB_SECONDS = 3600
_EVERY_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Freed:
    """The result of a sweep.

    Attributes:
        uploads: The number of abandoned uploads.
        versions: The number of versions whose time to live was over.
        blobs: The number of unused blobs and of incomplete uploads of a blob.
        bytes: The size of these blobs.
    """

    uploads: int
    versions: int
    blobs: int
    bytes: int

    def __str__(self) -> str:
        """Return one line for users."""
        return (
            f"Freed {self.bytes} bytes in {self.blobs} blobs. "
            f"Removed {self.uploads} abandoned uploads and {self.versions} expired versions."
        )


def collect_garbage(
    data_dir: str | Path, *, pending_seconds: float = _PENDING_SECONDS, blob_seconds: float = _BLOB_SECONDS
) -> Freed:
    """Sweep a data folder. A server may be running on it.

    Args:
        data_dir: The data folder.
        pending_seconds: The time after which an upload that does not go on counts as abandoned.
        blob_seconds: Younger blobs always stay.
    """
    with open_data_folder(Path(data_dir)) as folder:
        return sweep(folder.db, folder.blobs, pending_seconds=pending_seconds, blob_seconds=blob_seconds)


def sweep(
    db: Database,
    blobs: Blobs,
    *,
    pending_seconds: float = _PENDING_SECONDS,
    blob_seconds: float = _BLOB_SECONDS,
) -> Freed:
    """Free what nothing refers to. This does not disturb running requests."""
    now = datetime.datetime.now(datetime.UTC)
    uploads = garbage.stale_pending(db, timestamp(now - datetime.timedelta(seconds=pending_seconds)))
    for artifact in uploads:
        artifacts.mark_deleted(db, artifact.id)
    versions = garbage.expired(db, timestamp(now))
    for artifact in versions:
        delete_version(db, artifact)
    garbage.remove_unreferenced(db)
    count, size = _sweep_blobs(db, blobs, blob_seconds)
    return Freed(len(uploads), len(versions), count, size)


def _sweep_blobs(db: Database, blobs: Blobs, older_than: float) -> tuple[int, int]:
    count, size = blobs.remove_incoming(max(older_than, 24 * 3600))
    for blob, length in blobs.all():
        needed = partial(garbage.is_needed, db, blob)
        if not needed() and blobs.remove(blob, older_than=older_than, unless=needed):
            count, size = count + 1, size + length
    return count, size


@contextlib.contextmanager
def sweeping(db: Database, blobs: Blobs) -> Iterator[None]:
    """Sweep once an hour in a thread, as long as the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY_SECONDS):
            try:
                _log.info("Sweep: %s", sweep(db, blobs))
            except (OSError, sqlite3.Error) as error:
                _log.warning("Sweep failed and will be tried again in an hour: %s", error)

    thread = threading.Thread(target=run, name="wandb-ckpt-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
