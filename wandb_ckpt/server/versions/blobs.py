"""Blobs: bytes on disk by their digests, each stored once; one counts only when all of it is safe."""

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
    """One stored blob: its id (64 hex digits), its length in bytes and its MD5 as W&B writes it (base64)."""

    id: str
    size: int
    md5: str


class _Digests:
    # The MD5 is needed in any case; beside it XXH128 costs nothing, where SHA-256 took a third of an upload's time.
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
    """Takes the bytes of one upload, hashing as they come. Made by `Blobs.writer()`."""

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
            # At the end of the space a write takes a part, without an error; that comes with the next one.
            count = self._file.write(left)
            left = left[count:]
            self._ahead += count
        if self._ahead >= _AHEAD:
            self._ahead = 0
            _to_disk(self._file)

    def finish(self, *, size: int | None = None, md5: str | None = None) -> Blob:
        """Check the bytes against what was announced, and keep them for good.

        Args:
            size: The announced length, if any.
            md5: The announced MD5 in base64, if any.

        Raises:
            BlobMismatchError: They differ; nothing is kept.
        """
        blob = self._digests.blob()
        if size is not None and size != blob.size:
            raise BlobMismatchError(f"{blob.size} bytes arrived, {size} were announced. Upload the file again.")
        if md5 is not None and md5 != blob.md5:
            raise BlobMismatchError(
                f"The bytes that arrived have the MD5 {blob.md5}, announced was {md5}. Upload the file again."
            )
        self._keep(self._folder / blob.id[:2] / blob.id)
        return blob

    def _keep(self, target: Path) -> None:
        with _lock(self._folder, fcntl.LOCK_SH), contextlib.suppress(FileNotFoundError):
            # As young as a new one, no sweep takes it before it is referred to.
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
    # Linux writes it out while more is arriving, so that the end need not wait for the disk; and takes the memory of
    # what is written for what comes. A large file fills no memory, of which new pieces can be slower than the disk.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _check_damaged(stored: Path) -> None:
    # Bytes that the disk has damaged are mended by the next upload. But neither digest withstands an attacker, and
    # nobody may put other bytes in the place of a file that somebody else has.
    digests = _Digests()
    with stored.open("rb") as file:
        while piece := file.read(_PIECE):
            digests.update(memoryview(piece))
    if digests.blob().id == stored.name:
        raise BlobMismatchError("The server has other bytes with the same MD5 and XXH128; it can't take both.")


class Blobs:
    """The blobs in one folder.

    Args:
        folder: Made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A place for the bytes of one upload; gone again unless `finish()` was called."""
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
        """Where the blob's bytes are."""
        if not _ID.fullmatch(blob_id):
            raise ValueError(f"{blob_id!r} is not the id of a blob: expected 64 hex digits.")
        return self._folder / blob_id[:2] / blob_id

    def has(self, blob_id: str) -> bool:
        """Whether the blob's bytes are there."""
        return self.path(blob_id).is_file()

    def read(self, blob_id: str) -> bytes:
        """All bytes of a small blob."""
        return self.path(blob_id).read_bytes()

    def all(self) -> Iterator[tuple[str, int]]:
        """Every stored blob as (id, size)."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, path.stat().st_size

    def remove(self, blob_id: str, *, older_than: float, unless: Callable[[], bool]) -> bool:
        """Free a blob that was stored so many seconds ago, if no one needs it.

        Args:
            blob_id: The blob.
            older_than: Younger ones stay: the row that refers to them may be about to be written.
            unless: Whether it is needed after all; asked while nobody can store it again.

        Returns:
            Whether it was freed.
        """
        path = self.path(blob_id)
        with _lock(self._folder, fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than and not unless():
                path.unlink()
                return True
        return False

    def remove_incoming(self, older_than: float) -> tuple[int, int]:
        """Remove half-written uploads untouched for so many seconds. Returns how many, and their bytes."""
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
    # Between threads and processes alike: each time the file is opened anew, which is a lock of its own.
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, kind)
        yield


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
