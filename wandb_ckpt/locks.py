"""Whose something on a disk is, and whether that process still lives; owns the locks of this process.

A process has a random name, its token. In each folder in which it has something in hand, it keeps a file locked that
is named after the token, and what it has in hand names the token. The kernel frees the lock when the process ends.
Process ids and host names tell none of that: containers have the one in common and give out the other anew.
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

# How long something is left alone where no lock tells whether its process lives, in seconds, since that process last
# took something in hand in the folder.
GENEROUS = 24 * 3600.0
_TRIES = 10  # somebody who looks whether a lock is free may remove a new one: each does so only once


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has a snapshot in hand.

    Attributes:
        token: Names its lock in the folder that the snapshot is in.
        host: Its machine's name; no identity, for containers share names.
        pid: Its number there, for people.
    """

    token: str
    host: str
    pid: int

    @property
    def is_elsewhere(self) -> bool:
        """Whether its machine has another name: then it may be at work on the original of a copied folder."""
        return self.host != platform.node()


@dataclass(slots=True)
class _Lock:
    file: Path
    descriptor: int
    names: set[str] = field(default_factory=set)  # what this process has in hand beside the file


class _Process:
    """This process: its token, and the locks that it holds, by their folders."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with a new token and no locks."""
        self.token = secrets.token_hex(8)
        self.mutex = threading.RLock()
        self.locks: dict[Path, _Lock] = {}

    def before_fork(self) -> None:
        """Wait for the other threads, so that a child knows all the locks that it has to close."""
        self.mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Take back what `before_fork` did."""
        self.mutex.release()

    def after_fork_in_child(self) -> None:
        """Become a process of its own, which doesn't keep the parent's locks."""
        for lock in self.locks.values():
            os.close(lock.descriptor)  # to unlock it would unlock the parent's
        self.begin()


_this = _Process()
os.register_at_fork(
    before=_this.before_fork,
    after_in_parent=_this.after_fork_in_parent,
    after_in_child=_this.after_fork_in_child,
)


def this_process() -> Owner:
    """Return the process that asks."""
    return Owner(_this.token, platform.node(), os.getpid())


def hold(path: Path) -> None:
    """Hold the lock of a path's folder until `let_go` is called for the path, or the process ends.

    Raises:
        OSError: There can be no file in the folder.
    """
    folder = _real(path.parent)
    with _this.mutex:
        lock = _this.locks.get(folder)
        if lock is None or not _is_at(lock.descriptor, lock.file):  # people remove hidden files
            if lock is not None:
                os.close(_this.locks.pop(folder).descriptor)
            file = folder / f"{_LOCK_PREFIX}{_this.token}"
            lock = _this.locks[folder] = _Lock(file, _locked(file), lock.names if lock else set())
        lock.names.add(path.name)
        with suppress(OSError):
            os.utime(lock.descriptor)  # where nothing can be locked, the age tells


def let_go(path: Path) -> None:
    """Take back what `hold` did for a path, if it did; with the last path in a folder, its lock goes."""
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
    """Make a folder that names this process, which holds it."""
    folder = parent / f"{prefix}{_this.token}-{secrets.token_hex(4)}"
    hold(folder)
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        let_go(folder)
        raise
    return folder


def is_left(path: Path) -> bool:
    """Return whether a folder was made by `new_folder` in a process that is dead."""
    match = _OWNED.fullmatch(path.name)
    return match is not None and not lives(match[1], path.parent)


def lives(token: str, folder: Path) -> bool:
    """Return whether the process of a token lives and has something in hand in a folder.

    The lock of a dead process is removed.
    """
    if token == _this.token:
        return True
    with _this.mutex:  # of two threads that try a lock, neither takes the other for its owner
        return _is_held(folder / f"{_LOCK_PREFIX}{token}")


def sweep(folder: Path) -> None:
    """Remove the locks of dead processes from a folder."""
    for file in folder.glob(f"{_LOCK_PREFIX}*"):
        lives(file.name.removeprefix(_LOCK_PREFIX), folder)


# Whoever removes a lock's file has it locked, and whoever has locked one looks whether it is still there. So nobody
# removes a lock that is held, or that was made anew under the same name.


def _locked(file: Path) -> int:
    descriptor = -1
    for _ in range(_TRIES):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # nothing can be locked here
            lock_descriptor(descriptor)
        if _is_at(descriptor, file):
            break
        os.close(descriptor)
    return descriptor


def _is_held(file: Path) -> bool:
    for _ in range(_TRIES):
        try:
            descriptor = os.open(file, os.O_RDWR)  # NFS locks only what can be written to
        except FileNotFoundError:
            return False
        except OSError:  # another user's, or the disk is read-only
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
    except OSError:  # nothing can be locked here
        return not _is_recent(file)


def _is_recent(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < GENEROUS
    except FileNotFoundError:
        return False


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
