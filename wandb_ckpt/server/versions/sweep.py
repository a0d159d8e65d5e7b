"""Sweep: frees what nothing refers to any more: abandoned uploads, expired versions, blobs of deleted ones."""

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

from wandb_ckpt.server.http.services import Services, open_services
from wandb_ckpt.server.store import Database, artifacts, garbage
from wandb_ckpt.server.versions.blobs import Blobs
from wandb_ckpt.server.versions.removal import delete_version

__all__ = ["Freed", "collect_garbage", "sweep", "sweeping"]

_log = logging.getLogger("wandb_ckpt.server")
# A client may go on with an upload for hours after a broken line; wandb's own retries end after a week.
_PENDING_SECONDS = 7 * 24 * 3600
# Between storing a blob and the row that refers to it there are milliseconds. An hour is far on the safe side.
_BLOB_SECONDS = 3600
_EVERY_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Freed:
    """What a sweep freed.

    Attributes:
        uploads: Abandoned uploads.
        versions: Versions whose time to live was over.
        blobs: Blobs that nothing referred to, and pieces of broken uploads.
        bytes: Their size.
    """

    uploads: int
    versions: int
    blobs: int
    bytes: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"freed {self.bytes} bytes in {self.blobs} blobs; gave up {self.uploads} abandoned uploads; "
            f"deleted {self.versions} expired versions"
        )


def collect_garbage(
    data_dir: str | Path, *, pending_seconds: float = _PENDING_SECONDS, blob_seconds: float = _BLOB_SECONDS
) -> Freed:
    """Sweep a data folder, whether or not a server is running on it.

    Args:
        data_dir: The server's folder.
        pending_seconds: Unfinished uploads are abandoned when nothing was heard of them for so long.
        blob_seconds: Blobs younger than this stay in any case.
    """
    with open_services(Path(data_dir)) as services:
        return sweep(services.db, services.blobs, pending_seconds=pending_seconds, blob_seconds=blob_seconds)


def sweep(
    db: Database,
    blobs: Blobs,
    *,
    pending_seconds: float = _PENDING_SECONDS,
    blob_seconds: float = _BLOB_SECONDS,
) -> Freed:
    """Free what nothing refers to. Running requests are not disturbed."""
    now = datetime.datetime.now(datetime.UTC)
    uploads = garbage.stale_pending(db, _text(now - datetime.timedelta(seconds=pending_seconds)))
    for artifact in uploads:
        artifacts.mark_deleted(db, artifact.id)
    versions = garbage.expired(db, _text(now))
    for artifact in versions:
        delete_version(db, artifact)
    garbage.remove_unreferenced(db)
    count, size = _sweep_blobs(db, blobs, blob_seconds)
    return Freed(len(uploads), len(versions), count, size)


def _text(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _sweep_blobs(db: Database, blobs: Blobs, older_than: float) -> tuple[int, int]:
    count, size = blobs.remove_incoming(max(older_than, 24 * 3600))
    for blob, length in blobs.all():
        needed = partial(garbage.is_needed, db, blob)
        if not needed() and blobs.remove(blob, older_than=older_than, unless=needed):
            count, size = count + 1, size + length
    return count, size


@contextlib.contextmanager
def sweeping(services: Services) -> Iterator[None]:
    """Sweep now and then in the background, as long as the block lasts."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY_SECONDS):
            try:
                _log.info("swept: %s", sweep(services.db, services.blobs))
            except (OSError, sqlite3.Error) as error:
                _log.warning("the sweep failed and will be tried again: %s", error)

    thread = threading.Thread(target=run, name="wandb-ckpt-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
