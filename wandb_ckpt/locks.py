"""Which process owns a file or folder on disk, and whether that process is still running.

Each process has a random name, its token. In every folder where a process has unfinished work, it keeps a lock file
that is named after the token. The names of its unfinished files and folders contain the token, too. The kernel frees
the lock when the process ends. Process ids and host names are not enough: containers often share a host name, and use
the same process ids again.

This module owns the locks of this process.
"""

import os
import platform
import re
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import lock_descriptor

_LOCK_PREFIX = ".wandb_ckpt_lock-"
_OWNED = re.compile(r"\.wandb_ckpt(?:_snapshot)?-([0-9a-f]{16})-[0-9a-f]{8}")

# Where files can't be locked: seconds after which a process counts as dead, since it last began work in the folder.
STALE_AFTER = 24 * 3600.0
_TRIES = 10  # a process that tests a new lock may remove its file; each process does so only once


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that works on a snapshot.

    Attributes:
        token: The name of the process, and of its lock in the folder that holds the snapshot.
        host: The name of its machine. Not unique: containers share names.
        pid: Its process id on that machine, for messages.
    """

    token: str
    host: str
    pid: int

    @property
    def is_elsewhere(self) -> bool:
        """Whether the machine has another name. The process may then work on the original of a copied folder."""
        return self.host != platform.node()


@dataclass(slots=True)
class _Lock:
    file: Path
    descriptor: int
    names: set[str] = field(default_factory=set)  # what this process works on in the lock's folder


class _Process:
    """This process: its token, and the locks that it holds, by folder."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with a new token and no locks."""
        self.token = secrets.token_hex(8)
        self.mutex = threading.RLock()
        self.locks: dict[Path, _Lock] = {}

    def before_fork(self) -> None:
        """Wait for the other threads, so that the child knows all locks that it must close."""
        self.mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Let the other threads continue."""
        self.mutex.release()

    def after_fork_in_child(self) -> None:
        """Begin as a new process that does not hold the parent's locks."""
        for lock in self.locks.values():
            os.close(lock.descriptor)  # unlocking would unlock the parent's lock
        self.begin()


_this = _Process()
os.register_at_fork(
    before=_this.before_fork,
    after_in_parent=_this.after_fork_in_parent,
    after_in_child=_this.after_fork_in_child,
)


def this_process() -> Owner:
    """Return this process as an owner."""
    return Owner(_this.token, platform.node(), os.getpid())


def hold(path: Path) -> None:
    """Hold the lock of a path's folder until `release` is called for the path, or the process ends.

    Raises:
        OSError: The lock file can't be created in the folder.
    """
    folder = _real(path.parent)
    with _this.mutex:
        lock = _this.locks.get(folder)
        if lock is None or not _is_at(lock.descriptor, lock.file):  # somebody may have removed the hidden file
            if lock is not None:
                os.close(_this.locks.pop(folder).descriptor)
            file = folder / f"{_LOCK_PREFIX}{_this.token}"
            lock = _this.locks[folder] = _Lock(file, _locked(file), lock.names if lock else set())
        lock.names.add(path.name)
        with suppress(OSError):
            os.utime(lock.descriptor)  # where files can't be locked, their age is used


def release(path: Path) -> None:
    """Release a path that `hold` was called for. The lock is removed with the last path of its folder."""
    folder = _real(path.parent)
    with _this.mutex:
        if (lock := _this.locks.get(folder)) is None:
            return
        lock.names.discard(path.name)
        if not lock.names:
            del _this.locks[folder]
            with suppress(OSError):
                lock.file.unlink()
            os.close(lock.descriptor)


def new_folder(parent: Path, prefix: str) -> Path:
    """Create a folder whose name contains this process's token, and hold its lock."""
    folder = parent / f"{prefix}{_this.token}-{secrets.token_hex(4)}"
    hold(folder)
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        release(folder)
        raise
    return folder


def is_abandoned(path: Path) -> bool:
    """Return whether a folder was created by `new_folder` in a process that is dead."""
    match = _OWNED.fullmatch(path.name)
    return match is not None and not is_alive(match[1], path.parent)


def is_alive(token: str, folder: Path) -> bool:
    """Return whether the process with this token is running and has unfinished work in a folder.

    The lock of a dead process is removed.
    """
    if token == _this.token:
        return True
    with _this.mutex:  # so that two threads that test a lock don't take each other for its owner
        return _is_held(folder / f"{_LOCK_PREFIX}{token}")


def sweep(folder: Path) -> None:
    """Remove the locks of dead processes from a folder."""
    for file in folder.glob(f"{_LOCK_PREFIX}*"):
        is_alive(file.name.removeprefix(_LOCK_PREFIX), folder)


# A process removes a lock file only while it has locked it. After it locks a file, it checks that the file is still
# there. So no process removes a lock that another one holds, or a new lock with the same name.


def _locked(file: Path) -> int:
    descriptor = -1
    for _ in range(_TRIES):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # files can't be locked here
            lock_descriptor(descriptor)
        if _is_at(descriptor, file):
            break
        os.close(descriptor)
    return descriptor


def _is_held(file: Path) -> bool:
    for _ in range(_TRIES):
        try:
            descriptor = os.open(file, os.O_RDWR)  # NFS locks only files that are open for writing
        except FileNotFoundError:
            return False
        except OSError:  # the file belongs to another user, or the disk is read-only
            return _is_recent(file)
        try:
            if not _can_be_locked(descriptor, file):
                return True
            if _is_at(descriptor, file):
                with suppress(OSError):
                    file.unlink()
                return False
        finally:
            os.close(descriptor)
    return True


def _can_be_locked(descriptor: int, file: Path) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # files can't be locked here
        return not _is_recent(file)


def _is_recent(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < STALE_AFTER
    except FileNotFoundError:
        return False


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
