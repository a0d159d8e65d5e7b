"""Atomic saves: a finished save replaces its target in one step, so a killed process leaves the previous save whole.

A save is written to a private folder beside its target:

    .wandb_ckpt-<token>-<random>/partial/<name>…   while it is being written
    .wandb_ckpt-<token>-<random>/content/<name>…   when it is complete; never written again
    .wandb_ckpt-<token>-<random>/placing/<name>…   hard links to `content`, which are moved to the target
    .wandb_ckpt-<token>-<random>/previous/<name>…  the old folder, where two folders can't be exchanged in one step

If the run's folder is on another file system, the bytes of a snapshot stay beside their target, in this folder:

    .wandb_ckpt_snapshot-<token>-<random>/content/<name>…
    .wandb_ckpt_snapshot-<token>-<random>/home      a symbolic link to the snapshot that they belong to

The token is that of the process, which holds a lock in the same folder (see `wandb_ckpt.locks`).
"""

import ctypes
import errno
import filecmp
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from wandb_ckpt import locks

logger = logging.getLogger("wandb_ckpt")

PREFIX, SNAPSHOT_PREFIX = ".wandb_ckpt-", ".wandb_ckpt_snapshot-"

# The files of a SavedModel (tensorflow/python/saved_model/constants.py); tf_keras adds `keras_metadata.pb`.
_SAVED_MODEL = frozenset(
    {"assets", "assets.extra", "debug", "fingerprint.pb", "keras_metadata.pb", "saved_model.pb", "variables"}
)


class PrivateFolder:
    """A folder beside the target of one save. The save is written there, and moved to the target from there.

    Args:
        path: The path of the save; its parent folder exists. If it is a symbolic link, the file that it points to is
            replaced, and the link stays.

    Raises:
        OSError: The folder can't be created (no permission, read-only or full file system).
    """

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        self.target = Path(os.path.realpath(path))
        self.root = new_root(self.target.parent)
        self.partial = self.root / "partial"
        self.content = self.root / "content"
        self.partial.mkdir()

    def place(self) -> OSError | None:
        """Move the save from `partial` to the target, and keep the same bytes in `content`.

        Returns:
            `None`, or the error that prevents an atomic replacement. In that case the target was written in place, as
            Keras does.

        Raises:
            OSError: The target can't be written in place either, or the disk is full.
        """
        _keep_mode(self.target, self.partial / self.name)
        try:
            self.partial.rename(self.content)
            self._place_content()
        except OSError as error:
            # A full disk is full in place, too. An old checkpoint is better than half of a new one.
            if isinstance(error, IsADirectoryError) or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._write_in_place()
            return error
        return None

    def _place_content(self) -> None:
        linked = self.root / "linked"
        link_tree(self.content, linked)
        if (linked / self.name).exists():
            (linked / self.name).rename(linked / self.target.name)
        placing = linked.rename(self.root / "placing")
        for entry in _in_order(placing):
            _place_one(entry, self.target.parent / entry.name)
        shutil.rmtree(placing, ignore_errors=True)

    def _write_in_place(self) -> None:
        if self.partial.exists():
            move(self.partial, self.content)
        for entry in _in_order(self.content):
            write_in_place(entry, self.target if entry.name == self.name else self.target.parent / entry.name)
        for rest in ("linked", "placing"):
            shutil.rmtree(self.root / rest, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder and its content; the target stays."""
        remove_root(self.root)


def new_root(folder: Path, prefix: str = PREFIX) -> Path:
    """Create a private folder in `folder`. A later process removes it if this process dies before."""
    return locks.new_folder(folder, prefix)


def remove_root(root: Path) -> None:
    """Remove a folder that `new_root` created, if it still has that name, and release its lock."""
    shutil.rmtree(root, ignore_errors=True)
    locks.release(root)


def link_tree(source: Path, target: Path) -> None:
    """Hard-link every file under `source` to `target`; copy it where hard links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _apply_to_files(source, target, _link_or_copy)


def move(source: Path, target: Path) -> Path:
    """Move a file or folder, and return the target. Copy it where it can't be renamed (some FUSE file systems)."""
    try:
        return source.rename(target)
    except OSError:
        write_in_place(source, target)
        if source.is_dir():
            shutil.rmtree(source, ignore_errors=True)
        else:
            source.unlink()
        return target


def write_in_place(source: Path, target: Path) -> None:
    """Overwrite a file, or all files of a folder, in place."""
    _apply_to_files(source, target, _overwrite)


def finish_killed_saves(folder: Path) -> None:
    """Finish the saves in `folder` that a killed process had completed, and remove those that it had not.

    A completed save is moved to its target, unless the target is newer. A TF prefix has several files, and a process
    may have been killed between two of them. If that fails, the save stays, and a warning names it.
    """
    for root in _abandoned(folder, PREFIX):
        try:
            _finish(root, folder)
        except OSError as error:
            logger.warning(
                "A killed process left a checkpoint in %s that can't be moved to its place: %s. The previous "
                "checkpoint is unchanged. Check the permissions of the folder, or move the checkpoint yourself.",
                root,
                error,
            )
        else:
            shutil.rmtree(root, ignore_errors=True)
    for snapshot in _abandoned(folder, SNAPSHOT_PREFIX):
        if _is_orphan(snapshot / "home"):
            shutil.rmtree(snapshot, ignore_errors=True)
    locks.sweep(folder)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders, or links to them, in one step. Return whether this is possible here."""
    # Python has no function for renameat2(2). Without RENAME_EXCHANGE a folder can't be replaced atomically.
    if sys.platform != "linux":
        return False
    at_fdcwd, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # musl, an old glibc
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0)


def free_cached_pages(path: Path) -> None:
    """Free the page cache of a file, so that the next save can use this memory. Unwritten pages are kept.

    In a virtual machine that returns freed memory to its host, getting new memory can take as long as the rest of a
    save. Plain Keras truncates the old file first, so it uses that memory again.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _is_orphan(link: Path) -> bool:
    """Return whether the snapshot behind a link is gone. If its disk is not mounted, assume that it exists."""
    if not link.is_symlink():  # the link is created before the content, and removed after it
        return True
    return not link.exists() and link.readlink().parent.is_dir()


def _finish(root: Path, folder: Path) -> None:
    for entry in _in_order(root / "placing"):
        target = folder / entry.name
        if entry.is_dir() and not any(_is_same_tree(entry, new) for new in (root / "content").iterdir()):
            _carry_over(entry, target)  # the folders were swapped already: this is the old one
        elif _newest(target) <= _newest(entry) or _is_beginning(target, entry):
            _place_or_write(entry, target)
    for old in (root / "previous").glob("*"):
        _carry_over(old, folder / old.name)


def _is_beginning(target: Path, source: Path) -> bool:
    """Return whether a file is the beginning of another one. A killed process leaves such a file in place."""
    if not (target.is_file() and source.is_file()) or target.stat().st_size >= source.stat().st_size:
        return False
    with target.open("rb") as beginning, source.open("rb") as whole:
        chunks = iter(partial(beginning.read, 1 << 20), b"")
        return all(whole.read(len(chunk)) == chunk for chunk in chunks)


def _is_same_tree(one: Path, other: Path) -> bool:
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    pairs = [(one / name, other / name) for name in files]
    return all(there.is_file() and filecmp.cmp(here, there, shallow=False) for here, there in pairs)


def _newest(path: Path) -> int:
    """Return the newest modification time of a file, or of the files in a folder; 0 if there is no file."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    return filter(locks.is_abandoned, sorted(folder.glob(f"{prefix}*")))


def _in_order(placing: Path) -> list[Path]:
    """Return the entries in the order to move them: the index and `checkpoint` file of a TF prefix after its data."""
    return sorted(placing.glob("*"), key=lambda path: (path.name == "checkpoint", path.suffix == ".index"))


def _place_one(entry: Path, target: Path) -> None:
    if entry.is_dir() and target.is_dir():
        _replace_folder(entry, target)
    elif target.is_dir():
        # ModelCheckpoint looks for these words to report that the path is a folder.
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
    else:
        entry.replace(target)


def _place_or_write(entry: Path, target: Path) -> None:
    try:
        _place_one(entry, target)
    except IsADirectoryError:
        raise
    except OSError:
        write_in_place(entry, target)


def _replace_folder(new: Path, target: Path) -> None:
    """Replace a folder with another one: atomically where the kernel supports it, else with two renames."""
    old = new
    if not exchange(new, target):
        old = new.parent.with_name("previous") / new.name
        old.parent.mkdir(exist_ok=True)
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    _carry_over(old, target)
    shutil.rmtree(old, ignore_errors=True)


def _carry_over(old: Path, new: Path) -> None:
    """Move files that do not belong to the SavedModel (logs, notes) from the old folder to the new one."""
    for entry in old.iterdir():
        if entry.name not in _SAVED_MODEL and not (new / entry.name).exists():
            new.mkdir(exist_ok=True)  # somebody may have removed it after the process was killed
            entry.rename(new / entry.name)


def _apply_to_files(source: Path, target: Path, function: Callable[[Path, Path], None]) -> None:
    """Call a function with each file of `source` and its path in `target`. `source` may be one file."""
    # Not `shutil.copytree`: its error has no `errno`, and it sets the times of folders, which fails on some disks.
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            _apply_to_files(entry, target / entry.name, function)
    else:
        function(source, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # hard links are not supported here (FAT, some network file systems)
        _copy(source, target)


def _overwrite(source: Path, target: Path) -> None:
    if not (target.exists() and target.samefile(source)):
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with suppress(OSError):  # the time shows later whether the file is still the one that was saved
        shutil.copystat(source, target)


def _keep_mode(old: Path, new: Path) -> None:
    # When the parent writes into an existing file, the file keeps its permissions. A new file must get the same ones.
    with suppress(OSError):  # there is no old file, or permissions can't be set here
        if old.is_file():
            shutil.copymode(old, new)
