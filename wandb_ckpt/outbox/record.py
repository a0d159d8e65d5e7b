"""What the folder of a snapshot says of it: a small JSON file, by which a later process can publish it.

The paths of the bytes are relative to the folder, which may be moved, also to another machine.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from wandb_ckpt.checkpoint import Checkpoint
from wandb_ckpt.locks import Owner, lives
from wandb_ckpt.outbox.snapshot import Snapshot, SnapshotFile
from wandb_ckpt.policy.best import BestTracker
from wandb_ckpt.saving.atomic import move

FILE_NAME = "record.json"
_FORMAT = 1

RunT = TypeVar("RunT")
OtherT = TypeVar("OtherT")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run that a checkpoint belongs to, for a process that does not have it.

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
class Draft(Generic[RunT]):
    """Everything that one version is made of.

    Attributes:
        run: The run that logs it.
        name: The artifact's name.
        place: Where the parent saved it, absolute.
        aliases: The version's aliases.
        metadata: The user's own metadata.
        template: The file name that the user gave, with its placeholders: it tells callbacks of a run apart.
        epoch_key: Under which the run's summary has the epoch of the best value.
        shard: `"layer"` when the version is to be in shards.
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

    def with_run(self, run: OtherT) -> "Draft[OtherT]":
        """Returns the same for a run that is known in another way."""
        return cast("Draft[OtherT]", replace(self, run=cast("RunT", run)))

    def beside(self, best: float | None) -> "Draft[RunT]":
        """Returns the same where W&B has a version with that best value: `best` only if it is better."""
        checkpoint = self.checkpoint
        if best is None or not checkpoint.is_best or BestTracker(best).observe(checkpoint.value, checkpoint.mode):
            return self
        aliases = tuple(alias for alias in self.aliases if alias != "best")
        return replace(self, aliases=aliases, checkpoint=replace(checkpoint, is_best=False, best=best))


@dataclass(frozen=True, slots=True)
class Record:
    """One snapshot, as a later process finds it.

    Attributes:
        draft: The version that it is to become.
        owner: The process that has it in hand, as long as that lives.
        digest: The artifact's digest, once it was handed over to wandb; until then empty.
    """

    draft: Draft[RunFacts]
    owner: Owner
    digest: str = ""

    @property
    def is_in_hand(self) -> bool:
        """Whether its owner lives, and still has it in hand."""
        return lives(self.owner.token, self.draft.snapshot.root.parent)


def write_record(record: Record) -> None:
    """Puts a record into the snapshot's folder, in one step where that can be done.

    It is not flushed to the disk, for it is written while training waits: after a loss of power the bytes are there,
    and it may not be.

    Raises:
        OSError: There is no room, or no folder.
    """
    file = record.draft.snapshot.root / FILE_NAME
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(encoded(record)), encoding="utf-8")
    move(aside, file)


def read_record(folder: Path) -> Record | None:
    """Returns the record in a snapshot's folder; `None` where there is none that is whole."""
    try:
        return decoded(json.loads((folder / FILE_NAME).read_text(encoding="utf-8")), folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def command_for(folder: Path) -> str:
    """Returns the command that publishes what is pending under a folder.

    >>> command_for(Path("wandb/run-1"))
    'wandb-ckpt publish wandb/run-1'
    """
    return f"wandb-ckpt publish {shlex.quote(str(folder))}"


def encoded(record: Record) -> dict[str, Any]:
    """Returns a record as JSON values, with paths relative to the snapshot's folder."""
    draft, snapshot = record.draft, record.draft.snapshot
    files = [
        [file.name, str(file.path.relative_to(snapshot.root)), file.size, file.mtime_ns] for file in snapshot.files
    ]
    return {
        "wandb_ckpt": _FORMAT,
        "run": asdict(draft.run),
        "owner": asdict(record.owner),
        "digest": record.digest,
        "name": draft.name,
        "checkpoint": asdict(draft.checkpoint),
        "place": str(draft.place),
        "files": files,
        "is_folder": snapshot.is_folder,
        "aliases": draft.aliases,
        "metadata": draft.metadata,
        "template": draft.template,
        "epoch_key": draft.epoch_key,
        "shard": draft.shard,
    }


def decoded(values: Mapping[str, Any], folder: Path) -> Record:
    """Returns the record that `encoded` was called on, for the snapshot in `folder`.

    Raises:
        ValueError: It is of another version of this package.
        KeyError: Something is missing; also TypeError, where something is too much.
    """
    if values["wandb_ckpt"] != _FORMAT:
        raise ValueError(f"{folder / FILE_NAME} has format {values['wandb_ckpt']!r}: expected {_FORMAT}")
    files = tuple(SnapshotFile(name, folder / path, size, time_ns) for name, path, size, time_ns in values["files"])
    draft = Draft(
        RunFacts(**values["run"]),
        values["name"],
        Checkpoint(**values["checkpoint"]),
        Path(values["place"]),
        Snapshot(folder, files, values["is_folder"]),
        tuple(values["aliases"]),
        values["metadata"],
        values["template"],
        values["epoch_key"],
        values["shard"],
    )
    return Record(draft, Owner(**values["owner"]), values["digest"])
