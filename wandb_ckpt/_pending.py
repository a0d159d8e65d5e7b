"""What is still to be published on this disk: found by the records beside the snapshots, published, or swept."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from itertools import groupby
from pathlib import Path

import wandb

from wandb_ckpt import _artifact, _record, _reopen, _wandb_private
from wandb_ckpt._artifact import RefusedError, UnreachableError
from wandb_ckpt._atomic import PREFIX, finish_killed_saves
from wandb_ckpt._record import Record
from wandb_ckpt._standing import Standing
from wandb_ckpt._threads import start

logger = logging.getLogger("wandb_ckpt")

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
        return self.record.draft.run.offline and not _wandb_private.is_synced(self.run_folder)

    @property
    def run_folder(self) -> Path:
        """The folder of the run, if the snapshot lies in one."""
        return self.folder.parents[2]


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
    return _read(file for root in roots for depth in _DEPTHS for file in root.glob(f"{depth}{_record.NAME}"))


def of(run: "wandb.Run", name: str) -> tuple[Pending, ...]:
    """Returns what is pending of one artifact of a run beside the run's own folder, oldest first.

    It reads no other records, for training waits meanwhile: wandb's folders are named after their run.
    """
    facts, place = _artifact.run_facts(run), f"*-{escape(run.id)}*/wandb_ckpt/{escape(name)}/*/{_record.NAME}"
    found = _read(_artifact.sync_folder(run).parent.glob(place))
    return tuple(each for each in found if (each.record.draft.run, each.record.draft.name) == (facts, name))


def _read(files: Iterable[Path]) -> tuple[Pending, ...]:
    folders = {file.resolve().parent for file in files}  # `latest-run` is a link to one of its neighbours
    whole = (folder for folder in folders if not folder.name.startswith(PREFIX))  # the rest is in the making
    records = filter(None, (_record.read(folder) for folder in sorted(whole, key=lambda folder: folder.name)))
    return tuple(_looked_at(record) for record in records)


def _looked_at(record: Record) -> Pending:
    pending = Pending(record)
    if record.is_in_hand:
        return Pending(record, f"process {record.owner.pid} is at it, on {record.owner.host}")
    if pending.is_unsynced and _wandb_private.can_be_synced(pending.run_folder):
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
    is_new = any(pending.is_unsynced for pending in group)
    left = deque(group)
    try:
        for result in _reopen.publish_records([pending.record for pending in group], is_new=is_new):
            pending = left.popleft()
            if result.version:
                pending.record.draft.snapshot.release()
            yield Attempt(pending, result.version, result.reason)
    except (RefusedError, UnreachableError) as error:
        for pending in left:
            yield Attempt(pending, reason=str(error))


def sweep_in_background(run: "wandb.Run") -> None:
    """Removes what dead processes left of versions that W&B has, and says in one line what W&B doesn't have.

    It looks beside the run's own folder, and only at what is for the run's server.
    """
    here = _artifact.sync_folder(run).parent
    start("wandb_ckpt_sweep", partial(_sweep, run, here))  # without it the next start sweeps


def _sweep(run: "wandb.Run", here: Path) -> None:
    try:
        for folder in here.glob("*/wandb_ckpt/*/"):
            finish_killed_saves(folder)  # what was not yet a snapshot when its process was killed
        unpublished = list(_swept_in(here, run))
    except Exception:  # whatever wandb raises (0.31): nothing is lost, and the next start looks again
        logger.debug("What is left in %s could not be looked up", here, exc_info=True)
        return
    if unpublished:
        _say_unpublished(unpublished, here)


def _swept_in(here: Path, run: "wandb.Run") -> Iterator[Pending]:
    left = sorted((each for each in find(here) if _is_left_behind(each, run.settings.base_url)), key=_artifact_of)
    for _, group in groupby(left, key=_artifact_of):
        yield from _swept(_artifact.api_of(run), list(group))


def _say_unpublished(unpublished: Sequence[Pending], here: Path) -> None:
    amount = sum(each.record.draft.snapshot.size for each in unpublished) / 1e6
    _artifact.say(
        f"{len(unpublished)} checkpoint{'s' if len(unpublished) > 1 else ''} of earlier processes ({amount:.1f} MB) "
        f"were never published. This lists them, and publishes them: {_record.command_for(here)}",
        warn=True,
    )


def _is_left_behind(pending: Pending, base_url: str) -> bool:
    return pending.hold is None and pending.record.draft.run.base_url == base_url


def _artifact_of(pending: Pending) -> tuple[str, str, str]:
    draft = pending.record.draft
    return draft.run.entity, draft.run.project, draft.name


def _swept(api: "wandb.Api", group: Sequence[Pending]) -> Iterator[Pending]:
    """Removes what is a version, and yields the rest."""
    entity, project, name = _artifact_of(group[0])
    standing = Standing(api, f"{entity or api.default_entity}/{project}/{name}")
    for pending in group:
        if pending.record.digest and standing.version_with(pending.record.digest):
            pending.record.draft.snapshot.release()
        else:
            yield pending
