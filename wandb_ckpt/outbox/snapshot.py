"""Snapshot: the frozen bytes of one checkpoint on this disk, until its version is committed."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wandb_ckpt import locks
from wandb_ckpt.saving.atomic import SNAPSHOT_PREFIX, exchange, move, new_root, remove_root
from wandb_ckpt.saving.save_observer import Save


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot: its name in the artifact, its path, and its size and time when it was frozen."""

    name: str
    path: Path
    size: int
    mtime_ns: int

    def is_unchanged(self) -> bool:
        """Return whether the file has the size and time of when it was frozen."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The frozen bytes of one checkpoint.

    Attributes:
        root: The folder with the bytes, in `content`. If the checkpoint is on another file system, `content` is a
            link to bytes beside the checkpoint.
        files: Every file, with its name in the artifact: a file under its own name, a folder's content
            at the root, each file of a TF prefix under its own name.
        is_folder: Whether the checkpoint is a folder (a SavedModel).
    """

    root: Path
    files: tuple[SnapshotFile, ...]
    is_folder: bool

    @property
    def base(self) -> Path:
        """The folder in which the files have the names that they have in the artifact."""
        file = self.files[0]
        return file.path.parents[len(Path(file.name).parts) - 1]

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def is_alone(self) -> bool:
        """Whether no checkpoint shares the bytes any more, so that removing the snapshot frees disk space."""
        return all(file.path.stat().st_nlink == 1 for file in self.files)

    def check_unchanged(self) -> None:
        """Check that nothing else has written to the files since they were frozen.

        Raises:
            ValueError: Something has; says to which.
        """
        if changed := [file.name for file in self.files if not file.is_unchanged()]:
            raise ValueError(
                f"something else wrote to {', '.join(changed)} after it was saved, so its bytes are not those of "
                "the checkpoint. Let nothing else write to this path, or pass policy='mutable' to copy at save time"
            )

    def flush(self) -> None:
        """Flush the bytes to the disk. The checkpoint shares them, so it is flushed as well."""
        for file in self.files:
            descriptor = os.open(file.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def bring_home(self) -> None:
        """Copy bytes on another file system into the snapshot's folder, so that the folder can be moved.

        Raises:
            OSError: There is no room for them.
        """
        content, copied = self.root / "content", self.root / "copied"
        elsewhere = content.resolve()
        if content.is_symlink() and elsewhere != copied.resolve():
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(elsewhere, copied)
            if exchange(content, copied):
                copied.unlink()
            else:  # a link can be replaced in one step everywhere, by another one
                link = self.root / "content.new"
                link.unlink(missing_ok=True)
                link.symlink_to(copied.name, target_is_directory=True)
                link.replace(content)
            shutil.rmtree(elsewhere.parent, ignore_errors=True)

    def release(self) -> None:
        """Remove the snapshot from the disk."""
        content = self.root / "content"
        folders = [self.root, *([content.resolve().parent] if content.is_symlink() else [])]
        with suppress(OSError):
            folders.append(new_root(self.root.parent))
            self.root.rename(folders[-1])  # in one step: a kill leaves no half of it, and the rest is swept
        for folder in folders:
            remove_root(folder)


def freeze(save: Save, home: Path, *, note: Callable[[Snapshot], None], copy: bool = False) -> Snapshot:
    """Freeze the bytes of a save, and move them to `home` if that is on the same file system.

    At `home` there is nothing or all of it: a kill leaves only folders that the next start sweeps. This process holds
    it, until the snapshot is released or let go.

    Args:
        save: A local save.
        home: Folder that the snapshot should become; must not exist, its parent is made.
        note: Writes beside the bytes what they are, before they are moved.
        copy: Copy the bytes, for files that something else writes to in place.

    Raises:
        OSError: The bytes can't be kept (disk full, no permission), or there are none.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    name = Path(save.path).name if save.folder is None else save.folder.name
    root = _copied(Path(save.path), home.parent) if save.folder is None else save.folder.root
    try:
        locks.hold(home)
        if copy and save.folder is not None:
            _replace_by_copies(root)
        note(_snapshot(root, name))
        return _snapshot(_moved(root, name, home, note), name)
    except BaseException:
        locks.release(home)
        raise
    finally:
        remove_root(root)  # unless it was moved


def _moved(root: Path, name: str, home: Path, note: Callable[[Snapshot], None]) -> Path:
    try:
        return root.rename(home)
    except OSError as error:
        if error.errno != errno.EXDEV:
            return move(root, home)
    try:
        return _left_beside(root, name, home, note)
    except OSError:
        if not (root / "content").exists():
            raise
        return move(root, home)  # one of the two file systems has no links


def _left_beside(root: Path, name: str, home: Path, note: Callable[[Snapshot], None]) -> Path:
    """Leave the bytes beside the checkpoint, on another file system, because a copy would hold training."""
    # Under another name, for what a killed process leaves under the first one is taken for an unfinished save.
    kept, aside = new_root(root.parent, SNAPSHOT_PREFIX).resolve(), new_root(home.parent)
    try:
        (kept / "home").symlink_to(home.absolute(), target_is_directory=True)
        (aside / "content").symlink_to(kept / "content", target_is_directory=True)
        move(root / "content", kept / "content")
        shutil.rmtree(root, ignore_errors=True)
        note(_snapshot(aside, name))
        return aside.rename(home)
    except OSError:
        shutil.rmtree(kept, ignore_errors=True)
        raise
    finally:
        remove_root(aside)  # unless it was moved
        locks.release(kept)  # from now on its link says whether it is needed


def _replace_by_copies(root: Path) -> None:
    shutil.copytree(root / "content", root / "copied")
    shutil.rmtree(root / "content")
    move(root / "copied", root / "content")


def _copied(path: Path, folder: Path) -> Path:
    root = new_root(folder)
    try:
        _copy(path, root / "content")
    except OSError:
        remove_root(root)
        raise
    return root


def _copy(path: Path, content: Path) -> None:
    content.mkdir()
    if path.is_dir():
        shutil.copytree(path, content / path.name)
    else:
        for part in _parts(path):
            shutil.copy2(part, content / part.name)


def _parts(path: Path) -> list[Path]:
    """Return the file itself, or the files of the TF prefix that it names."""
    if path.is_file():
        return [path]
    shards = sorted(path.parent.glob(f"{path.name}.data-*"))
    return [*shards, path.with_name(f"{path.name}.index"), path.with_name("checkpoint")]


def _snapshot(root: Path, name: str) -> Snapshot:
    content = root / "content"
    is_folder = (content / name).is_dir()
    base = content / name if is_folder else content
    paths = sorted(path for path in base.rglob("*") if path.is_file())
    if not paths:
        raise FileNotFoundError(errno.ENOENT, "the model's save wrote no file", name)
    return Snapshot(root, tuple(_frozen(path, base) for path in paths), is_folder)


def _frozen(path: Path, base: Path) -> SnapshotFile:
    stat = path.stat()
    return SnapshotFile(path.relative_to(base).as_posix(), path, stat.st_size, stat.st_mtime_ns)
