"""Finds the checkpoints on this disk that are still to be published."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

from wandb_ckpt.outbox.record import FILE_NAME, Record, RunFacts, read_record
from wandb_ckpt.outbox.run_folder import can_be_synced, is_synced
from wandb_ckpt.saving.atomic import PREFIX

# Where snapshots lie, seen from one, its artifact's folder, this package's, a run's, wandb's, and what holds that.
_DEPTHS = ("", "*/", "*/*/", "wandb_ckpt/*/*/", "*/wandb_ckpt/*/*/", "wandb/*/wandb_ckpt/*/*/")


@dataclass(frozen=True, slots=True)
class Pending:
    """One snapshot that no version was made of yet, as far as this disk knows.

    Attributes:
        record: What it is.
        hold: Why it is not to be published now; `None` where nothing is in the way.
    """

    record: Record
    hold: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the snapshot."""
        return self.record.draft.snapshot.root

    def within(self, project: str | None, entity: str | None, run_id: str | None) -> "Pending":
        """Returns the same for a run that is in another place than it was begun in, as far as that is given."""
        draft, run = self.record.draft, self.record.draft.run
        run = replace(run, project=project or run.project, entity=entity or run.entity, id=run_id or run.id)
        return replace(self, record=replace(self.record, draft=draft.with_run(run)))

    @property
    def is_unsynced(self) -> bool:
        """Whether it is of an offline run that `wandb sync` has not uploaded."""
        return self.record.draft.run.offline and not is_synced(self.run_folder)

    @property
    def run_folder(self) -> Path:
        """The folder of the run, if the snapshot lies in one."""
        return self.folder.parents[2]


def find(*paths: Path) -> tuple[Pending, ...]:
    """Returns what is pending under the paths, oldest first.

    Args:
        paths: Folders of snapshots, of runs, of wandb, or what holds wandb's.
    """
    return _read(file for root in paths for depth in _DEPTHS for file in root.glob(f"{depth}{FILE_NAME}"))


def find_of(run: RunFacts, name: str, wandb_folder: Path) -> tuple[Pending, ...]:
    """Returns what is pending of one artifact of a run, oldest first.

    It reads no other records, for training waits meanwhile: wandb's folders are named after their run.

    Args:
        wandb_folder: The folder of wandb that holds the run's folders.
    """
    found = _read(wandb_folder.glob(f"*-{escape(run.id)}*/wandb_ckpt/{escape(name)}/*/{FILE_NAME}"))
    return tuple(each for each in found if (each.record.draft.run, each.record.draft.name) == (run, name))


def _read(files: Iterable[Path]) -> tuple[Pending, ...]:
    folders = {file.resolve().parent for file in files}  # `latest-run` is a link to one of its neighbours
    whole = (folder for folder in folders if not folder.name.startswith(PREFIX))  # the rest is in the making
    records = filter(None, (read_record(folder) for folder in sorted(whole, key=lambda folder: folder.name)))
    return tuple(_looked_at(record) for record in records)


def _looked_at(record: Record) -> Pending:
    pending = Pending(record)
    if record.is_in_hand:
        return Pending(record, f"process {record.owner.pid} is at it, on {record.owner.host}")
    if pending.is_unsynced and can_be_synced(pending.run_folder):
        return Pending(record, f"the run is offline: wandb sync {pending.run_folder}")
    return pending
