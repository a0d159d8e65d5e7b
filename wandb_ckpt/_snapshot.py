"""Snapshot: the frozen bytes of one checkpoint on this disk, until its version is committed."""

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from wandb_ckpt._observer import Save


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file of a snapshot: its name in the artifact, its path, and what it looked like when frozen."""

    name: str
    path: Path
    size: int
    mtime_ns: int

    def is_unchanged(self) -> bool:
        """Returns whether the file still has the size and time that it was frozen with."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The frozen bytes of one checkpoint.

    Attributes:
        root: The folder that holds them and goes with them.
        files: Every file, with its name in the artifact: a file under its own name, a folder's content
            at the root, each file of a TF prefix under its own name.
        is_folder: Whether the checkpoint is a folder (a SavedModel).
    """

    root: Path
    files: tuple[SnapshotFile, ...]
    is_folder: bool

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)

    def check_unchanged(self) -> None:
        """Checks that nothing else has written to the files since they were frozen.

        Raises:
            ValueError: Something has; says to which.
        """
        if changed := [file.name for file in self.files if not file.is_unchanged()]:
            raise ValueError(
                f"something else wrote to {', '.join(changed)} after it was saved, so its bytes are not those of "
                "the checkpoint. Let nothing else write to this path, or pass policy='mutable' to copy at save time"
            )

    def flush(self) -> None:
        """Flushes the bytes to the disk. The checkpoint itself shares them, so it is flushed as well."""
        for file in self.files:
            descriptor = os.open(file.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def release(self) -> None:
        """Removes the snapshot from the disk, and the folders above it that are empty then."""
        shutil.rmtree(self.root, ignore_errors=True)


def freeze(save: Save, home: Path, *, copy: bool = False) -> Snapshot:
    """Returns the frozen bytes of a save, moved to `home` if that is on the same file system.

    Args:
        save: A local save.
        home: Folder that the snapshot should become; must not exist, its parent is made.
        copy: Copy the bytes, for files that something else writes to in place.

    Raises:
        OSError: The bytes can't be kept (disk full, no permission), or there are none.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    if save.folder is None:
        return _snapshot(_copied(Path(save.path), home), Path(save.path).name)
    name = save.folder.name
    if copy:
        shutil.copytree(save.folder.content, home / "content")
        save.folder.remove()
        return _snapshot(home, name)
    return _snapshot(_moved(save.folder.root, home), name)


def _moved(root: Path, home: Path) -> Path:
    try:
        root.rename(home)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: the bytes stay beside the checkpoint, for a copy would hold training.
        return root
    return home


def _copied(path: Path, home: Path) -> Path:
    content = home / "content"
    content.mkdir(parents=True)
    if path.is_dir():
        shutil.copytree(path, content / path.name)
    else:
        for part in _parts(path):
            shutil.copy2(part, content / part.name)
    return home


def _parts(path: Path) -> list[Path]:
    """Returns the file itself, or the files of the TF prefix that it names."""
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
