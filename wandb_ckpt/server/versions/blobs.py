"""Bytes on disk, each content once, under its digests. A blob counts only when all of it is on disk."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import filecmp
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import xxhash

from wandb_ckpt.server.errors import BlobMismatchError

__all__ = ["Blob", "BlobWriter", "Blobs"]

_ID = re.compile(r"[0-9a-f]{64}")
_PIECE = 2**20
_AHEAD = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: its id (64 hex digits), its size in bytes and its MD5 in base64, as W&B writes it."""

    id: str
    size: int
    md5: str


class _Digests:
    # The MD5 is needed in any case. XXH128 costs nothing beside it. SHA-256 took a third of the time of an upload.
    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._xxh128 = xxhash.xxh3_128()
        self._size = 0

    def update(self, data: memoryview) -> None:
        self._md5.update(data)
        self._xxh128.update(data)
        self._size += len(data)

    def blob(self) -> Blob:
        blob_id = self._md5.hexdigest() + self._xxh128.hexdigest()
        return Blob(blob_id, self._size, base64.b64encode(self._md5.digest()).decode())


class BlobWriter:
    """Writes and hashes the bytes of one upload. Made by `Blobs.writer()`."""

    def __init__(self, folder: Path, file: IO[bytes], path: Path) -> None:
        self._folder = folder
        self._file = file
        self._path = path
        self._digests = _Digests()
        self._ahead = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        left = memoryview(data)
        self._digests.update(left)
        while left:
            # When the disk is nearly full, a write takes only a part. The next write raises the error.
            count = self._file.write(left)
            left = left[count:]
            self._ahead += count
        if self._ahead >= _AHEAD:
            self._ahead = 0
            _to_disk(self._file)

    def finish(self, *, size: int | None = None, md5: str | None = None) -> Blob:
        """Check the bytes and store them.

        Args:
            size: The announced length, if any.
            md5: The announced MD5 in base64, if any.

        Raises:
            BlobMismatchError: They differ from what was announced. Nothing is stored.
        """
        blob = self._digests.blob()
        if size is not None and size != blob.size:
            raise BlobMismatchError(f"{blob.size} bytes arrived, but {size} were announced. Upload the file again.")
        if md5 is not None and md5 != blob.md5:
            raise BlobMismatchError(
                f"The bytes that arrived have the MD5 {blob.md5}, but {md5} was announced. Upload the file again."
            )
        self._keep(self._folder / blob.id[:2] / blob.id)
        return blob

    def _keep(self, target: Path) -> None:
        with _lock(self._folder, fcntl.LOCK_SH), contextlib.suppress(FileNotFoundError):
            # A sweep leaves young blobs alone until a row refers to them.
            os.utime(target)
            if filecmp.cmp(self._path, target, shallow=False):
                return
            _check_damaged(target)
        os.fsync(self._file.fileno())
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            _fsync_folder(self._folder)
        self._path.replace(target)
        _fsync_folder(target.parent)


def _to_disk(file: IO[bytes]) -> None:
    # Linux writes to disk while more arrives, so the end does not wait for the disk. It also frees the memory of what
    # is written. Otherwise a large file would fill the page cache, and new pages can be slower than the disk.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _check_damaged(stored: Path) -> None:
    # The next upload repairs bytes that the disk has damaged. But an attacker can make other bytes with the same
    # digests, and nobody may replace the file of somebody else.
    digests = _Digests()
    with stored.open("rb") as file:
        while piece := file.read(_PIECE):
            digests.update(memoryview(piece))
    if digests.blob().id == stored.name:
        raise BlobMismatchError("The server has other bytes with the same MD5 and XXH128. It can't store both.")


class Blobs:
    """The blobs in one folder.

    Args:
        folder: The folder. It is created if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Return the writer of one upload. Without `finish()`, nothing stays."""
        path = self._incoming / secrets.token_hex(16)
        with path.open("xb", buffering=0) as file:
            try:
                yield BlobWriter(self._folder, file, path)
            finally:
                path.unlink(missing_ok=True)

    def add(self, data: bytes) -> Blob:
        """Store bytes that are already in memory."""
        with self.writer() as writer:
            writer.write(data)
            return writer.finish()

    def path(self, blob_id: str) -> Path:
        """Return the file of a blob."""
        if not _ID.fullmatch(blob_id):
            raise ValueError(f"{blob_id!r} is not the id of a blob: expected 64 hex digits.")
        return self._folder / blob_id[:2] / blob_id

    def has(self, blob_id: str) -> bool:
        """Return whether the bytes of a blob exist."""
        return self.path(blob_id).is_file()

    def read(self, blob_id: str) -> bytes:
        """Return the bytes of a small blob."""
        return self.path(blob_id).read_bytes()

    def all(self) -> Iterator[tuple[str, int]]:
        """Return all stored blobs as (id, size)."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, path.stat().st_size

    def remove(self, blob_id: str, *, older_than: float, unless: Callable[[], bool]) -> bool:
        """Delete a blob that nothing needs.

        Args:
            blob_id: The blob.
            older_than: Seconds. A younger blob stays, because the row that refers to it may not be written yet.
            unless: Returns whether the blob is needed. Called while nobody can store it again.

        Returns:
            Whether it was deleted.
        """
        path = self.path(blob_id)
        with _lock(self._folder, fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than and not unless():
                path.unlink()
                return True
        return False

    def remove_incoming(self, older_than: float) -> tuple[int, int]:
        """Delete incomplete uploads that did not change for some seconds. Return their number and size."""
        count = freed = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if time.time() - stat.st_mtime > older_than:
                    path.unlink()
                    count, freed = count + 1, freed + stat.st_size
        return count, freed


@contextlib.contextmanager
def _lock(folder: Path, kind: int) -> Iterator[None]:
    # Locks out threads as well as processes, because each call opens the file anew.
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, kind)
        yield


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
