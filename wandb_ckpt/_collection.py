"""The reading side of W&B: refs → versions → verified files on this disk. With _artifact, all that knows wandb."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import wandb

from wandb_ckpt import _pending, _wandb_private
from wandb_ckpt._artifact import active_run, is_disabled, sync_folder
from wandb_ckpt._join import join, joined_name
from wandb_ckpt._naming import default_artifact_name
from wandb_ckpt._record import Record
from wandb_ckpt.errors import ArgumentError, CheckpointNotFoundError, DamagedCheckpointError, NoActiveRunError

_REF = re.compile(
    r"(?:wandb-artifact://)?(?:(?:(?P<entity>[^/:]+)/)?(?P<project>[^/:]+)/)?(?:(?P<name>[^/:]+):)?(?P<version>[^/:]+)"
)
_EXAMPLES = "'entity/project/run_3j2t0k7n_model:best', 'run_3j2t0k7n_model:v3', or 'best' within a run"


@dataclass(frozen=True, slots=True)
class Ref:
    """What a user names a version by.

    Attributes:
        version: A version or an alias: `v3`, `best`.
        name: The artifact's name; `None` stands for the active run's own.
        project: `None` stands for the active run's, or for the one that wandb is set to.
        entity: As `project`.
    """

    version: str
    name: str | None = None
    project: str | None = None
    entity: str | None = None

    def __str__(self) -> str:
        path = "/".join(part for part in (self.entity, self.project, self.name) if part)
        return f"{path}:{self.version}" if path else self.version


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


def parse_ref(text: str) -> Ref:
    """Returns the parts of a ref.

    Raises:
        ArgumentError: It is no ref.

    >>> parse_ref("team/digits/run_1_model:best")
    Ref(version='best', name='run_1_model', project='digits', entity='team')
    >>> parse_ref("v3")
    Ref(version='v3', name=None, project=None, entity=None)
    """
    match = _REF.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ArgumentError(f"ref={text!r} names no version: expected such as {_EXAMPLES}.")
    ref = Ref(**match.groupdict())
    if ref.project and not ref.name:
        raise ArgumentError(f"ref={text!r} has no version or alias behind a ':': expected such as {_EXAMPLES}.")
    return ref


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
    run = _usable_run()
    if run is not None and run.offline and (record := _kept_offline(parse_ref(text), run)):
        return _copied(record, root)
    online = _online(run)
    artifact = find(text)
    while True:
        try:
            return _fetched(artifact, online, root)
        except Exception:
            # A callback's `max_to_keep` may have deleted what was `best` when it was found; wandb has an error of its
            # own for each moment at which that can be (0.31).
            found, artifact = artifact, find(text)
            if artifact.version == found.version:
                raise


def _fetched(artifact: "wandb.Artifact", online: "wandb.Run | None", root: str | PathLike[str] | None) -> Fetched:
    folder = _download_whole(artifact, root)
    if online is not None:
        online.use_artifact(artifact)
    return _joined(artifact, folder)


def _joined(artifact: "wandb.Artifact", folder: Path) -> Fetched:
    names = list(artifact.manifest.entries)
    if name := joined_name(names):
        join(folder, names, name)
    return Fetched(full_name(artifact), folder / located(names), dict(artifact.metadata))


def _kept_offline(ref: Ref, run: "wandb.Run") -> Record | None:
    """Returns the newest of an offline run's snapshots on this disk that has an alias."""
    name = ref.name or default_artifact_name(run.id)
    found = [each.record for each in _pending.of(run, name) if ref.version in each.record.draft.aliases]
    return found[-1] if found and not ref.project else None


def _copied(record: Record, root: str | PathLike[str] | None) -> Fetched:
    if root is None:
        return kept(record, record.draft.snapshot.base)
    shutil.copytree(record.draft.snapshot.base, root, dirs_exist_ok=True)
    return kept(record, Path(root))


def kept(record: Record, folder: Path) -> Fetched:
    """Returns a snapshot that is on this disk, its files being in `folder`."""
    snapshot, checkpoint = record.draft.snapshot, record.draft.checkpoint
    path = folder / located(file.name for file in snapshot.files)
    ref = f"{record.draft.name} of epoch {checkpoint.epoch} ({snapshot.root})"
    return Fetched(ref, path, checkpoint.to_metadata())


def fetch_version(artifact: "wandb.Artifact", root: Path, *, near: Path) -> Fetched:
    """Returns a version that is known, from the folder `near` where it is whole there, else downloaded to `root`.

    Raises:
        DamagedCheckpointError: A file is not what the manifest says.
    """
    entries = artifact.manifest.entries
    is_near = all(_is_whole(near / name, entry) for name, entry in entries.items())
    return _joined(artifact, near if is_near else _download_whole(artifact, root))


# ---- finding -----------------------------------------------------------------------------------------------


def _usable_run() -> "wandb.Run | None":
    run = active_run(None)
    return None if run is None or is_disabled(run) else run


def _online(run: "wandb.Run | None") -> "wandb.Run | None":
    return None if run is None or run.offline else run


def find(text: str) -> "wandb.Artifact":
    """Returns the version that a ref names.

    Raises:
        ArgumentError: `text` is no ref.
        CheckpointNotFoundError: There is no such version.
        NoActiveRunError: `text` is only an alias, and there is no active run.
    """
    run = _usable_run()
    ref, api = _completed(parse_ref(text), run), api_for(_online(run))
    if not api.artifact_exists(str(ref)):
        raise CheckpointNotFoundError(_not_found(api, ref, own=parse_ref(text).name is None))
    artifact: wandb.Artifact = api.artifact(str(ref))
    return artifact


def full_name(artifact: "wandb.Artifact") -> str:
    """Returns `entity/project/name:v3`."""
    # `qualified_name` ends with the alias that it was found by (0.31), which may move.
    return f"{artifact.qualified_name.rpartition(':')[0]}:{artifact.version}"


def _completed(ref: Ref, run: "wandb.Run | None") -> Ref:
    """Returns the ref with what the active run adds to it."""
    if ref.name is None and run is None:
        raise NoActiveRunError(
            f"{ref.version!r} alone means a version of the active W&B run's own checkpoints, and there is no active "
            f"run. Call wandb.init() first, or write the ref in full: {_EXAMPLES}."
        )
    if ref.name is None and run is not None and run.offline:
        raise CheckpointNotFoundError(
            f"{ref.version!r} is no alias of a checkpoint that this offline run left on this disk; versions come "
            f"to be when `wandb sync {sync_folder(run)}` uploads it. Take an alias such as 'best' or 'latest', "
            "or sync first and write the ref in full."
        )
    if run is None or run.offline or (ref.project and ref.entity):
        return ref
    name = ref.name or default_artifact_name(run.id)
    return Ref(ref.version, name, ref.project or run.project, ref.entity or run.entity)


def _not_found(api: "wandb.Api", ref: Ref, *, own: bool) -> str:
    path = str(ref).rpartition(":")[0]
    if api.artifact_collection_exists(path, "model"):
        known = ", ".join(sorted(api.artifact_collection("model", path).aliases)) or "none"
        return f"{path} has no version or alias {ref.version!r}. Its aliases are: {known}."
    if own:
        return (
            f"The active run has published no checkpoint yet: there is no {path}. Checkpoints of another run, or "
            f"under another artifact_name, take the ref in full: {_EXAMPLES}."
        )
    where = "" if ref.project else " A ref without a project is looked up in the active run's, or in WANDB_PROJECT."
    return f"There is no artifact {path} of type 'model', or no access to it.{where} Expected such as {_EXAMPLES}."


def api_for(run: "wandb.Run | None") -> "wandb.Api":
    """Returns an API for the server that the run is on; without one, for the server that wandb is set to."""
    if run is None:
        return wandb.Api()
    return wandb.Api(overrides={"base_url": run.settings.base_url}, api_key=run.settings.api_key)


# ---- files -------------------------------------------------------------------------------------------------


def _download_whole(artifact: "wandb.Artifact", root: str | PathLike[str] | None) -> Path:
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


def _download_past_cache(artifact: "wandb.Artifact", folder: Path) -> None:
    """Downloads from W&B itself: in its cache, wandb 0.31 takes any file of the right size for the right one."""
    try:
        artifact.download(root=folder, skip_cache=True)
    finally:
        _wandb_private.forget_download(artifact)


def _drop_damaged(artifact: "wandb.Artifact", folder: Path) -> list[str]:
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
