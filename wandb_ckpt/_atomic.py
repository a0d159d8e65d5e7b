"""Puts a finished save in place in one step, so that a kill at any moment leaves the previous one whole.

A save is written into a private folder beside its target:

    .wandb_ckpt-<host>-<pid>-<random>/partial/<name>…   while it is written
    .wandb_ckpt-<host>-<pid>-<random>/content/<name>…   once it is complete: never written again
    .wandb_ckpt-<host>-<pid>-<random>/placing/<name>…   the same inodes, on their way to the target

Bytes that stay beside their target, because the run's folder is on another file system, are in a folder of their own:

    .wandb_ckpt_snapshot-<host>-<pid>-<random>/content/<name>…
    .wandb_ckpt_snapshot-<host>-<pid>-<random>/home      a link to the snapshot that they belong to
"""

import ctypes
import errno
import filecmp
import glob
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wandb_ckpt._process import is_alive

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

    def place(self) -> None:
        """Puts what was written to `partial` at the target, and keeps the same bytes in `content`."""
        _keep_mode(self.target, self.partial / self.name)
        self.partial.rename(self.content)
        linked = self.root / "linked"
        link_tree(self.content, linked)
        if (linked / self.name).exists():
            (linked / self.name).rename(linked / self.target.name)
        _place_all(linked.rename(self.root / "placing"), self.target.parent)

    def remove(self) -> None:
        """Removes the folder and what is in it; the target stays."""
        shutil.rmtree(self.root, ignore_errors=True)


def new_root(folder: Path, prefix: str = PREFIX) -> Path:
    """Makes a folder in `folder` that is swept from there when this process is dead."""
    return Path(tempfile.mkdtemp(prefix=f"{_of_this_host(prefix)}{os.getpid()}-", dir=folder))


def link_tree(source: Path, target: Path) -> None:
    """Gives every file under `source` a second name under `target`; copies where hard links fail."""
    shutil.copytree(source, target, copy_function=_link_or_copy)


def finish_killed_saves(folder: Path) -> None:
    """Finishes what a killed process was putting in place in `folder`, and sweeps what it left half written.

    A save that was complete is put in place, because a TF prefix is several files, and the kill may have come
    between two of them; unless something newer is there by now.
    """
    for root in _left_by_dead_processes(folder):
        placing = root / "placing"
        if placing.is_dir():
            _finish(placing, root / "content", folder)
        shutil.rmtree(root, ignore_errors=True)
    for kept in _left_by_dead_processes(folder, KEPT_PREFIX):
        if _is_homeless(kept / "home"):
            shutil.rmtree(kept, ignore_errors=True)


def exchange(one: Path, other: Path) -> None:
    """Swaps two folders, or links to them: atomically where the kernel can, else with two renames."""
    if not _renameat2_exchange(one, other):
        aside = one.with_name(f"{one.name}.previous")
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


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


def _finish(placing: Path, content: Path, folder: Path) -> None:
    for entry in _in_order(placing):
        target = folder / entry.name
        if entry.is_dir() and not any(_is_same_tree(entry, new) for new in content.iterdir()):
            _carry_over(entry, target)  # the swap was done: this is the old folder
        elif _newest(target) <= _newest(entry):
            _place_one(entry, target)


def _is_same_tree(one: Path, other: Path) -> bool:
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    pairs = [(one / name, other / name) for name in files]
    return all(there.is_file() and filecmp.cmp(here, there, shallow=False) for here, there in pairs)


def _newest(path: Path) -> int:
    """Returns the newest modification time of a file, or of the files in a folder; 0 where there is none."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _of_this_host(prefix: str) -> str:
    # The host is in the name because another host's processes can't be asked whether they live.
    return f"{prefix}{platform.node()}-"


def _left_by_dead_processes(folder: Path, prefix: str = PREFIX) -> Iterator[Path]:
    prefix = _of_this_host(prefix)
    for root in sorted(folder.glob(f"{glob.escape(prefix)}*")):
        pid = root.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            yield root


def _place_all(placing: Path, folder: Path) -> None:
    for entry in _in_order(placing):
        _place_one(entry, folder / entry.name)
    placing.rmdir()


def _in_order(placing: Path) -> list[Path]:
    """Returns the entries in the order of placing: a TF prefix's index and `checkpoint` file after its data."""
    return sorted(placing.iterdir(), key=lambda path: (path.name == "checkpoint", path.suffix == ".index"))


def _place_one(entry: Path, target: Path) -> None:
    if entry.is_dir() and target.is_dir():
        exchange(entry, target)
        _carry_over(entry, target)
        shutil.rmtree(entry)
    elif target.is_dir():
        # The words that ModelCheckpoint looks for to say that the path is a folder.
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
    else:
        entry.replace(target)


def _carry_over(old: Path, new: Path) -> None:
    """Moves what others keep in a SavedModel's folder (logs, notes) from the old folder to the new one."""
    for entry in old.iterdir():
        if entry.name not in _SAVED_MODEL and not (new / entry.name).exists():
            entry.rename(new / entry.name)


def _renameat2_exchange(one: Path, other: Path) -> bool:
    # Python has no binding for renameat2(2); without RENAME_EXCHANGE a folder can't be replaced atomically.
    if sys.platform != "linux":
        return False
    at_fdcwd, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # musl, an old glibc
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # no hard links here (FAT, some network file systems)
        shutil.copy(source, target)
        with suppress(OSError):  # the same time tells later that the file is still the one that was saved
            shutil.copystat(source, target)


def _keep_mode(old: Path, new: Path) -> None:
    # The parent writes into the existing file, which keeps its permissions; a new file must be given them.
    with suppress(FileNotFoundError):
        if old.is_file():
            shutil.copymode(old, new)
