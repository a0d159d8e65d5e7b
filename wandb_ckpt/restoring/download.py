"""Download versions, and check each file against the manifest."""

import base64
import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.errors import DamagedCheckpointError
from wandb_ckpt.formats.join_shards import join, joined_name
from wandb_ckpt.outbox.entry import Entry, RunInfo
from wandb_ckpt.policy.naming import default_artifact_name
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.refs import Ref, find, full_name, online, parse_ref, usable_run
from wandb_ckpt.wandb_api.run import entries_of

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Artifact, Run


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version whose files are on this disk and match the digests in its manifest.

    Attributes:
        ref: The full name of the version: `entity/project/name:v3`.
        path: The checkpoint itself: a file, a SavedModel folder, or a TF prefix.
        metadata: The version's metadata.
    """

    ref: str
    path: Path
    metadata: Mapping[str, Any]


def fetch(text: str, root: str | PathLike[str] | None = None) -> Fetched:
    """Download a version, check every file against the manifest, and record the use in the active run.

    Args:
        text: The ref.
        root: Folder to download to. Defaults to wandb's own folder for the version.

    Raises:
        ArgumentError: `text` is not a ref.
        CheckpointNotFoundError: There is no such version.
        DamagedCheckpointError: A file does not match the manifest.
        NoActiveRunError: `text` is only an alias, and there is no active run.
    """
    run = usable_run()
    if run is not None and run.offline and (entry := _offline_snapshot(parse_ref(text), run)):
        return _copied(entry, root)
    online_run = online(run)
    artifact = find(text)
    while True:
        try:
            return _fetched(artifact, online_run, root)
        except Exception:
            # Retention may have deleted the version after it was found, for example if it is not `best` any more.
            # wandb 0.31 raises different errors for this, depending on the time of the deletion.
            found, artifact = artifact, find(text)
            if artifact.version == found.version:
                raise


def _fetched(artifact: "Artifact", online: "Run | None", root: str | PathLike[str] | None) -> Fetched:
    folder = _download_checked(artifact, root)
    if online is not None:
        online.use_artifact(artifact)
    return _joined(artifact, folder)


def _joined(artifact: "Artifact", folder: Path) -> Fetched:
    names = list(artifact.manifest.entries)
    if name := joined_name(names):
        join(folder, names, name)
    return Fetched(full_name(artifact), folder / checkpoint_name(names), dict(artifact.metadata))


def _offline_snapshot(ref: Ref, run: "Run") -> Entry[RunInfo] | None:
    """Return the newest snapshot of an offline run on this disk that has the alias of a ref."""
    name = ref.name or default_artifact_name(run.id)
    found = [entry for entry in entries_of(run, name) if ref.version in entry.aliases]
    return found[-1] if found and not ref.project else None


def _copied(entry: Entry[RunInfo], root: str | PathLike[str] | None) -> Fetched:
    if root is None:
        return from_snapshot(entry, entry.snapshot.base)
    shutil.copytree(entry.snapshot.base, root, dirs_exist_ok=True)
    return from_snapshot(entry, Path(root))


def from_snapshot(entry: Entry[RunInfo], folder: Path) -> Fetched:
    """Return the checkpoint of a snapshot on this disk.

    Args:
        entry: The entry of the outbox that has the snapshot.
        folder: The folder with the files of the snapshot, or with a copy of them.
    """
    snapshot, checkpoint = entry.snapshot, entry.checkpoint
    path = folder / checkpoint_name(file.name for file in snapshot.files)
    ref = f"{entry.name} of epoch {checkpoint.epoch} ({snapshot.root})"
    return Fetched(ref, path, checkpoint.to_metadata())


def fetch_version(artifact: "Artifact", root: Path, *, near: Path) -> Fetched:
    """Return a version. Use the files in the folder `near` if all match the manifest, else download to `root`.

    Raises:
        DamagedCheckpointError: A file does not match the manifest.
    """
    entries = artifact.manifest.entries
    is_near = all(_matches(near / name, entry) for name, entry in entries.items())
    return _joined(artifact, near if is_near else _download_checked(artifact, root))


# ---- files -------------------------------------------------------------------------------------------------


def _download_checked(artifact: "Artifact", root: str | PathLike[str] | None) -> Path:
    """Download the missing files, and again those that are damaged in the folder or in wandb's cache."""
    folder = Path(artifact.download(root=root))
    if _remove_damaged(artifact, folder):
        _download_without_cache(artifact, folder)
        if damaged := _remove_damaged(artifact, folder):
            raise DamagedCheckpointError(
                f"{full_name(artifact)} is damaged: the download of {', '.join(damaged)} does not match the digest "
                "in the manifest, and was removed. Use another version, or check the storage of the W&B server."
            )
    return folder


def _download_without_cache(artifact: "Artifact", folder: Path) -> None:
    """Download from W&B, without wandb's cache: wandb 0.31 uses any cached file that has the right size."""
    try:
        artifact.download(root=folder, skip_cache=True)
    finally:
        private.reset_cache_override(artifact)


def _remove_damaged(artifact: "Artifact", folder: Path) -> list[str]:
    """Remove the files that do not match the manifest, and return their names."""
    damaged = [name for name, entry in artifact.manifest.entries.items() if not _matches(folder / name, entry)]
    for name in damaged:
        (folder / name).unlink(missing_ok=True)
    return damaged


def _matches(path: Path, entry: Any) -> bool:
    if entry.ref is not None:  # the digest of a reference comes from its store, and is not a digest of the bytes
        return True
    return path.is_file() and _digest(path, entry.extra.get("alg", "MD5")) == str(entry.digest)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, lambda: _hasher(algorithm)).digest()).decode()


def _hasher(algorithm: str) -> Any:
    if algorithm == "XXH128":
        import xxhash  # versions of wandb that write such digests depend on it

        return xxhash.xxh128()
    return hashlib.md5(usedforsecurity=False)


def checkpoint_name(names: Iterable[str]) -> str:
    """Return the name of the checkpoint among the file names of a version; `.` if it is the whole folder.

    >>> checkpoint_name(["m.keras"]), checkpoint_name(["m.keras.shards/0000-config.json", "m.keras.shards/0001-end"])
    ('m.keras', 'm.keras')
    >>> checkpoint_name(["saved_model.pb", "variables/variables.index"])
    '.'
    >>> checkpoint_name(["checkpoint", "w-01.data-00000-of-00001", "w-01.index"])
    'w-01'
    """
    names = list(names)
    if joined := joined_name(names):
        return joined
    if len(names) == 1 and names[0] != "saved_model.pb":
        return names[0]
    prefixes = [name.removesuffix(".index") for name in names if name.endswith(".index") and "/" not in name]
    return prefixes[0] if len(prefixes) == 1 else "."
