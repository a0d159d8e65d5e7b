"""Entry: one checkpoint that waits to be published, and the record of it in the folder of its frozen bytes.

The record is a small JSON file, by which a later process can publish the checkpoint. Its paths are relative to the
folder, which may be moved, also to another machine.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.locks import Owner
from wandb_ckpt.outbox.snapshot import Snapshot, SnapshotFile
from wandb_ckpt.policy.best import aliases_for, beside
from wandb_ckpt.saving.atomic import move

FILE_NAME = "record.json"
_FORMAT = 1

RunT = TypeVar("RunT")
OtherT = TypeVar("OtherT")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run, as another process must know it.

    Attributes:
        id: Its id.
        entity: Its entity; empty for an offline run that goes to the user's default one.
        project: Its project.
        base_url: The server that it is on.
        offline: Whether it is an offline run.
    """

    id: str
    entity: str
    project: str
    base_url: str
    offline: bool


@dataclass(frozen=True, slots=True)
class Entry(Generic[RunT]):
    """One checkpoint in the outbox: everything that its version is made of.

    Attributes:
        run: The run that logs it: wandb's `Run` in the process that has it open, else what a record says.
        name: The artifact's name.
        place: Where Keras saved it, absolute.
        aliases: The version's aliases.
        metadata: The user's own metadata.
        template: The file name that the user gave, with its placeholders: it tells callbacks of a run apart.
        epoch_key: The key in the run's summary for the epoch of the best value.
        shard: `"layer"` when the version is published in shards.
        owner: The process that publishes it, as long as that process lives; `None` before the record is written.
        digest: The artifact's digest, once it was handed over to wandb; empty until then.
    """

    run: RunT
    name: str
    checkpoint: Checkpoint
    place: Path
    snapshot: Snapshot
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    template: str
    epoch_key: str = "best_epoch"
    shard: str | None = None
    owner: Owner | None = None
    digest: str = ""

    @property
    def folder(self) -> Path:
        """The folder of its frozen bytes."""
        return self.snapshot.root

    def with_run(self, run: OtherT) -> "Entry[OtherT]":
        """Return the entry with its run in another form."""
        return cast("Entry[OtherT]", replace(self, run=cast("RunT", run)))

    def beside(self, others: Iterable[float | None]) -> "Entry[RunT]":
        """Return the entry as the best or not, compared with other values."""
        checkpoint = beside(self.checkpoint, others)
        rest = (alias for alias in self.aliases if alias != "best")
        return replace(self, checkpoint=checkpoint, aliases=aliases_for(checkpoint, rest))


def write_record(entry: Entry[RunInfo]) -> None:
    """Write the record of an entry into its folder, in one step.

    It is not flushed to the disk, for it is written while training waits: after a loss of power the bytes are there,
    and it may not be.

    Raises:
        OSError: There is no room, or no folder.
    """
    file = entry.folder / FILE_NAME
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(encoded(entry)), encoding="utf-8")
    move(aside, file)


def read_record(folder: Path) -> Entry[RunInfo] | None:
    """Return the entry in a folder, or `None` if there is no valid record."""
    try:
        return decoded(json.loads((folder / FILE_NAME).read_text(encoding="utf-8")), folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def command_for(folder: Path) -> str:
    """Return the command that publishes what is pending under a folder.

    >>> command_for(Path("wandb/run-1"))
    'wandb-ckpt publish wandb/run-1'
    """
    return f"wandb-ckpt publish {shlex.quote(str(folder))}"


def encoded(entry: Entry[RunInfo]) -> dict[str, Any]:
    """Return an entry as JSON values, with paths relative to its folder."""
    snapshot = entry.snapshot
    files = [
        [file.name, str(file.path.relative_to(snapshot.root)), file.size, file.mtime_ns] for file in snapshot.files
    ]
    return {
        "wandb_ckpt": _FORMAT,
        "run": asdict(entry.run),
        "owner": asdict(entry.owner) if entry.owner else None,
        "digest": entry.digest,
        "name": entry.name,
        "checkpoint": asdict(entry.checkpoint),
        "place": str(entry.place),
        "files": files,
        "is_folder": snapshot.is_folder,
        "aliases": entry.aliases,
        "metadata": entry.metadata,
        "template": entry.template,
        "epoch_key": entry.epoch_key,
        "shard": entry.shard,
    }


def decoded(values: Mapping[str, Any], folder: Path) -> Entry[RunInfo]:
    """Return the entry that `encoded` was called with, for its present folder.

    Raises:
        ValueError: It is of another version of this package.
        KeyError: Something is missing; also TypeError, where something is too much.
    """
    if values["wandb_ckpt"] != _FORMAT:
        raise ValueError(f"{folder / FILE_NAME} has format {values['wandb_ckpt']!r}: expected {_FORMAT}")
    files = tuple(SnapshotFile(name, folder / path, size, time_ns) for name, path, size, time_ns in values["files"])
    return Entry(
        run=RunInfo(**values["run"]),
        name=values["name"],
        checkpoint=Checkpoint(**values["checkpoint"]),
        place=Path(values["place"]),
        snapshot=Snapshot(folder, files, values["is_folder"]),
        aliases=tuple(values["aliases"]),
        metadata=values["metadata"],
        template=values["template"],
        epoch_key=values["epoch_key"],
        shard=values["shard"],
        owner=Owner(**values["owner"]) if values["owner"] else None,
        digest=values["digest"],
    )
