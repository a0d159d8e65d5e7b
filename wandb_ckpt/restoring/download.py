"""Downloads versions, and checks each file against the manifest."""

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
    """One version whose files are on this disk, each with the digest that the manifest says.

    Attributes:
        ref: The version in full: `entity/project/name:v3`.
        path: The checkpoint itself: a file, a SavedModel folder, or a TF prefix.
        metadata: The version's metadata.
    """

    ref: str
    path: Path
    metadata: Mapping[str, Any]


def fetch(text: str, root: str | PathLike[str] | None = None) -> Fetched:
    """Downloads a version, checks every file against the manifest, and records the use in the active run.

    Args:
        text: The ref.
        root: Folder to download to; defaults to wandb's own for the version.

    Raises:
        ArgumentError: `text` is no ref.
        CheckpointNotFoundError: There is no such version.
        DamagedCheckpointError: A file is not what the manifest says.
        NoActiveRunError: `text` is only an alias, and there is no active run.
    """
    run = usable_run()
    if run is not None and run.offline and (entry := _kept_offline(parse_ref(text), run)):
        return _copied(entry, root)
    online_run = online(run)
    artifact = find(text)
    while True:
        try:
            return _fetched(artifact, online_run, root)
        except Exception:
            # A callback's `max_versions` may have deleted what was `best` when it was found; wandb has another error
            # for each moment at which that can be (0.31).
            found, artifact = artifact, find(text)
            if artifact.version == found.version:
                raise


def _fetched(artifact: "Artifact", online: "Run | None", root: str | PathLike[str] | None) -> Fetched:
    folder = _download_whole(artifact, root)
    if online is not None:
        online.use_artifact(artifact)
    return _joined(artifact, folder)


def _joined(artifact: "Artifact", folder: Path) -> Fetched:
    names = list(artifact.manifest.entries)
    if name := joined_name(names):
        join(folder, names, name)
    return Fetched(full_name(artifact), folder / located(names), dict(artifact.metadata))


def _kept_offline(ref: Ref, run: "Run") -> Entry[RunInfo] | None:
    """Returns the newest of an offline run's snapshots on this disk that has an alias."""
    name = ref.name or default_artifact_name(run.id)
    found = [entry for entry in entries_of(run, name) if ref.version in entry.aliases]
    return found[-1] if found and not ref.project else None


def _copied(entry: Entry[RunInfo], root: str | PathLike[str] | None) -> Fetched:
    if root is None:
        return kept(entry, entry.snapshot.base)
    shutil.copytree(entry.snapshot.base, root, dirs_exist_ok=True)
    return kept(entry, Path(root))


def kept(entry: Entry[RunInfo], folder: Path) -> Fetched:
    """Returns a snapshot that is on this disk, its files being in `folder`."""
    snapshot, checkpoint = entry.snapshot, entry.checkpoint
    path = folder / located(file.name for file in snapshot.files)
    ref = f"{entry.name} of epoch {checkpoint.epoch} ({snapshot.root})"
    return Fetched(ref, path, checkpoint.to_metadata())


def fetch_version(artifact: "Artifact", root: Path, *, near: Path) -> Fetched:
    """Returns a version that is known, from the folder `near` where it is whole there, else downloaded to `root`.

    Raises:
        DamagedCheckpointError: A file is not what the manifest says.
    """
    entries = artifact.manifest.entries
    is_near = all(_is_whole(near / name, entry) for name, entry in entries.items())
    return _joined(artifact, near if is_near else _download_whole(artifact, root))


# ---- files -------------------------------------------------------------------------------------------------


def _download_whole(artifact: "Artifact", root: str | PathLike[str] | None) -> Path:
    """Downloads what is not here yet, and once more what is here, or in wandb's cache, but damaged."""
    folder = Path(artifact.download(root=root))
    if _drop_damaged(artifact, folder):
        _download_past_cache(artifact, folder)
        if damaged := _drop_damaged(artifact, folder):
            raise DamagedCheckpointError(
                f"{full_name(artifact)} is damaged: {', '.join(damaged)} did not come with the digest that the "
                "manifest says, and was removed. Take another version, or look at the store that keeps the files."
            )
    return folder


def _download_past_cache(artifact: "Artifact", folder: Path) -> None:
    """Downloads from W&B itself: in its cache, wandb 0.31 takes any file of the right size for the right one."""
    try:
        artifact.download(root=folder, skip_cache=True)
    finally:
        private.reset_cache_override(artifact)


def _drop_damaged(artifact: "Artifact", folder: Path) -> list[str]:
    """Removes the files that are not what the manifest says, and returns their names."""
    damaged = [name for name, entry in artifact.manifest.entries.items() if not _is_whole(folder / name, entry)]
    for name in damaged:
        (folder / name).unlink(missing_ok=True)
    return damaged


def _is_whole(path: Path, entry: Any) -> bool:
    if entry.ref is not None:  # a reference's digest is what its store says, no digest of the bytes
        return True
    return path.is_file() and _digest(path, entry.extra.get("alg", "MD5")) == str(entry.digest)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, lambda: _hasher(algorithm)).digest()).decode()


def _hasher(algorithm: str) -> Any:
    if algorithm == "XXH128":
        import xxhash  # a wandb that writes such digests brings it along

        return xxhash.xxh128()
    return hashlib.md5(usedforsecurity=False)


def located(names: Iterable[str]) -> str:
    """Returns the name of the checkpoint among the files of a version, by their names; `.` is all of them.

    >>> located(["m.keras"]), located(["model.keras.shards/0000-config.json", "model.keras.shards/0001-end"])
    ('m.keras', 'model.keras')
    >>> located(["saved_model.pb", "variables/variables.index"])
    '.'
    >>> located(["checkpoint", "w-01.data-00000-of-00001", "w-01.index"])
    'w-01'
    """
    names = list(names)
    if joined := joined_name(names):
        return joined
    if len(names) == 1 and names[0] != "saved_model.pb":
        return names[0]
    prefixes = [name.removesuffix(".index") for name in names if name.endswith(".index") and "/" not in name]
    return prefixes[0] if len(prefixes) == 1 else "."
