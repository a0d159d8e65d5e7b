"""What is still to be published on this disk: found by the records beside the snapshots, published, or swept."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import wandb

from wandb_ckpt import _record, _reopen
from wandb_ckpt._checkpoint import Checkpoint
from wandb_ckpt._record import Record, RunFacts
from wandb_ckpt._standing import Standing

logger = logging.getLogger("wandb_ckpt")

# Where the folder of a snapshot lies, seen from itself, its artifact, this package's folder, a run's, wandb's, its parent.
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

    @property
    def run_folder(self) -> Path:
        """The folder of the run, if the snapshot lies in one."""
        return self.folder.parents[2]

    @property
    def age(self) -> float:
        """How long ago it was saved, in seconds."""
        return time.time() - int(self.folder.name) / 1e9


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one pending snapshot.

    Attributes:
        version: `"v3"`, and the snapshot is gone from this disk.
        reason: Why it is still pending.
    """

    pending: Pending
    version: str | None = None
    reason: str | None = None


def find(*paths: Path) -> tuple[Pending, ...]:
    """Returns what is pending under the paths, oldest first.

    Args:
        paths: Folders of snapshots, runs, wandb, or what holds wandb's. Defaults to wandb's own (`WANDB_DIR`).
    """
    roots = paths or (Path(wandb.setup().settings.wandb_dir),)
    files = (file for root in roots for depth in _DEPTHS for file in root.glob(f"{depth}{_record.NAME}"))
    folders = {file.resolve().parent for file in files}  # `latest-run` is a link to one of its neighbours
    records = filter(None, (_record.read(folder) for folder in sorted(folders, key=lambda folder: folder.name)))
    return tuple(_looked_at(record) for record in records)


def _looked_at(record: Record) -> Pending:
    pending = Pending(record)
    if record.owner.lives():
        return Pending(record, f"process {record.owner.pid} is at it")
    if record.draft.run.offline and not list(pending.run_folder.glob("*.wandb.synced")):
        return Pending(record, f"the run is offline: wandb sync {pending.run_folder}")
    return pending


def publish(found: Iterable[Pending]) -> Iterator[Attempt]:
    """Publishes what nothing is in the way of, run by run, each into its own run, and yields what became of each.

    What W&B has already only goes from this disk.
    """
    ready = sorted((each for each in found if each.hold is None), key=_run_of)
    for _, group in groupby(ready, key=_run_of):
        yield from _publish(list(group))


def _run_of(pending: Pending) -> tuple[str, str, str, str]:
    run = pending.record.draft.run
    return run.base_url, run.entity, run.project, run.id


def _publish(group: Sequence[Pending]) -> Iterator[Attempt]:
    done = _reopen.publish_records([pending.record for pending in group])
    for pending, result in zip(group, done.results, strict=False):
        if result.version:
            pending.record.draft.snapshot.release()
        yield Attempt(pending, result.version, result.reason)
    for pending in group[len(done.results) :]:
        yield Attempt(pending, reason=done.reason)
