"""Puts a finished save in place in one step, so that a kill at any moment leaves the previous one whole.

A save is written into a private folder beside its target:

    .wandb_ckpt-<token>-<random>/partial/<name>…   while it is written
    .wandb_ckpt-<token>-<random>/content/<name>…   once it is complete: never written again
    .wandb_ckpt-<token>-<random>/placing/<name>…   the same inodes, on their way to the target
    .wandb_ckpt-<token>-<random>/previous/<name>…  a folder that makes room, where two can't be exchanged

Bytes that stay beside their target, because the run's folder is on another file system, are in a folder of their own:

    .wandb_ckpt_snapshot-<token>-<random>/content/<name>…
    .wandb_ckpt_snapshot-<token>-<random>/home      a link to the snapshot that they belong to

The token names the process, whose lock is in the same folder meanwhile.
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

PREFIX, KEPT_PREFIX = ".wandb_ckpt-", ".wandb_ckpt_snapshot-"

# What a SavedModel consists of (tensorflow/python/saved_model/constants.py; the metadata is tf_keras's).
_SAVED_MODEL = frozenset(
    {"assets", "assets.extra", "debug", "fingerprint.pb", "keras_metadata.pb", "saved_model.pb", "variables"}
)


class PrivateFolder:
    """The folder beside a target in which one save is written, kept and put in place from.

    Args:
        path: The path that the save is meant for; its parent folder exists. Where it is a link it stays one, as it
            does when the parent writes through it: what it points to is replaced.

    Raises:
        OSError: The folder can't be made (no permission, read-only or full file system).
    """

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        self.target = Path(os.path.realpath(path))
        self.root = new_root(self.target.parent)
        self.partial = self.root / "partial"
        self.content = self.root / "content"
        self.partial.mkdir()

    def place(self) -> OSError | None:
        """Puts what was written to `partial` at the target, and keeps the same bytes in `content`.

        Returns:
            `None`; or why that can't be done in one step there. The target was then written in place, as Keras does.

        Raises:
            OSError: The target can't be written in place either, or a disk is full.
        """
        _keep_mode(self.target, self.partial / self.name)
        try:
            self.partial.rename(self.content)
            self._place_content()
        except OSError as error:
            # Room that is lacking is lacking in place, too: better an old checkpoint than half of a new one.
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
        """Removes the folder and what is in it; the target stays."""
        remove_root(self.root)


def new_root(folder: Path, prefix: str = PREFIX) -> Path:
    """Makes a folder in `folder` that is swept from there when this process is dead."""
    return locks.new_folder(folder, prefix)


def remove_root(root: Path) -> None:
    """Removes a folder that `new_root` has made, or lets it go where it has another name by now."""
    shutil.rmtree(root, ignore_errors=True)
    locks.let_go(root)


def link_tree(source: Path, target: Path) -> None:
    """Gives every file under `source` a second name under `target`; copies where hard links fail."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _give_all(source, target, _link_or_copy)


def move(source: Path, target: Path) -> Path:
    """Moves a file or folder, and returns the target; copies it where nothing can be renamed (some FUSE systems)."""
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
    """Writes a file, or all files of a folder, over those that are there."""
    _give_all(source, target, _write_over)


def finish_killed_saves(folder: Path) -> None:
    """Finishes what a killed process was putting in place in `folder`, and sweeps what it left half written.

    A save that was complete is put in place, because a TF prefix is several files, and the kill may have come
    between two of them; unless something newer is there by now. What can't be put in place stays, and is named.
    """
    for root in _left_by_dead_processes(folder, PREFIX):
        try:
            _finish(root, folder)
        except OSError as error:
            logger.warning("A killed process left a checkpoint in %s that can't be put in place: %s", root, error)
        else:
            shutil.rmtree(root, ignore_errors=True)
    for kept in _left_by_dead_processes(folder, KEPT_PREFIX):
        if _is_homeless(kept / "home"):
            shutil.rmtree(kept, ignore_errors=True)
    locks.sweep(folder)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two folders, or links to them, in one step; returns whether that can be done here."""
    # Python has no binding for renameat2(2); without RENAME_EXCHANGE a folder can't be replaced atomically.
    if sys.platform != "linux":
        return False
    at_fdcwd, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # musl, an old glibc
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0)


def give_memory_back(path: Path) -> None:
    """Lets a file's memory go to what comes at once; what is not on the disk yet stays.

    Where memory that was freed goes back to the host of a virtual machine, new memory for a save can take as long as
    all the rest of it. Plain Keras, which cuts off what it writes over, has that of the file before.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _is_homeless(link: Path) -> bool:
    """Returns whether there is no snapshot where one belongs; where the disk for it is not there, nobody knows."""
    if not link.is_symlink():  # it is made before the bytes come, and goes with them
        return True
    return not link.exists() and link.readlink().parent.is_dir()


def _finish(root: Path, folder: Path) -> None:
    for entry in _in_order(root / "placing"):
        target = folder / entry.name
        if entry.is_dir() and not any(_is_same_tree(entry, new) for new in (root / "content").iterdir()):
            _carry_over(entry, target)  # the swap was done: this is the old folder
        elif _newest(target) <= _newest(entry) or _is_begun(target, entry):
            _place_or_write(entry, target)
    for old in (root / "previous").glob("*"):
        _carry_over(old, folder / old.name)


def _is_begun(target: Path, source: Path) -> bool:
    """Returns whether a file is the beginning of another one: a kill has left that of writing it in place."""
    if not (target.is_file() and source.is_file()) or target.stat().st_size >= source.stat().st_size:
        return False
    with target.open("rb") as begun, source.open("rb") as whole:
        chunks = iter(partial(begun.read, 1 << 20), b"")
        return all(whole.read(len(chunk)) == chunk for chunk in chunks)


def _is_same_tree(one: Path, other: Path) -> bool:
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    pairs = [(one / name, other / name) for name in files]
    return all(there.is_file() and filecmp.cmp(here, there, shallow=False) for here, there in pairs)


def _newest(path: Path) -> int:
    """Returns the newest modification time of a file, or of the files in a folder; 0 where there is none."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _left_by_dead_processes(folder: Path, prefix: str) -> Iterator[Path]:
    return filter(locks.is_left, sorted(folder.glob(f"{prefix}*")))


def _in_order(placing: Path) -> list[Path]:
    """Returns the entries in the order of placing: a TF prefix's index and `checkpoint` file after its data."""
    return sorted(placing.glob("*"), key=lambda path: (path.name == "checkpoint", path.suffix == ".index"))


def _place_one(entry: Path, target: Path) -> None:
    if entry.is_dir() and target.is_dir():
        _replace_folder(entry, target)
    elif target.is_dir():
        # The words that ModelCheckpoint looks for to say that the path is a folder.
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
    """Puts a folder where another one is: atomically where the kernel can, else with two renames."""
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
    """Moves what others keep in a SavedModel's folder (logs, notes) from the old folder to the new one."""
    for entry in old.iterdir():
        if entry.name not in _SAVED_MODEL and not (new / entry.name).exists():
            new.mkdir(exist_ok=True)  # somebody may have removed it after a kill
            entry.rename(new / entry.name)


def _give_all(source: Path, target: Path, give: Callable[[Path, Path], None]) -> None:
    """Gives a file, or each file of a folder, to a target."""
    # Not `shutil.copytree`, whose error hides the number of what went wrong, and which needs folders with times.
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            _give_all(entry, target / entry.name, give)
    else:
        give(source, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # no hard links here (FAT, some network file systems)
        _copy(source, target)


def _write_over(source: Path, target: Path) -> None:
    if not (target.exists() and target.samefile(source)):
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with suppress(OSError):  # the same time tells later that the file is still the one that was saved
        shutil.copystat(source, target)


def _keep_mode(old: Path, new: Path) -> None:
    # The parent writes into the existing file, which keeps its permissions; a new file must be given them.
    with suppress(OSError):  # there is none yet, or permissions can't be given here
        if old.is_file():
            shutil.copymode(old, new)
