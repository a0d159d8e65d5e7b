"""Publishes, or removes, what earlier processes left in the outbox."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from wandb_ckpt import locks
from wandb_ckpt.checkpoint import Moment, moment
from wandb_ckpt.outbox.entry import Entry, RunInfo, command_for
from wandb_ckpt.outbox.find_pending import find, is_unsynced, why_held
from wandb_ckpt.publishing import finished_runs
from wandb_ckpt.saving.atomic import finish_killed_saves
from wandb_ckpt.threads import start
from wandb_ckpt.wandb_api.aliases import LatePublisher
from wandb_ckpt.wandb_api.api import api_for, ask
from wandb_ckpt.wandb_api.artifacts import keep_record
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import RefusedError, UnreachableError
from wandb_ckpt.wandb_api.run import entries_of, sync_folder
from wandb_ckpt.wandb_api.versions import OwnVersion, logged

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Api, Run

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one entry.

    Attributes:
        version: `"v3"`, and the snapshot is gone from this disk.
        reason: Why it is still pending.
    """

    entry: Entry[RunInfo]
    version: str | None = None
    reason: str | None = None


def publish(found: Iterable[Entry[RunInfo]]) -> Iterator[Attempt]:
    """Publish the entries that can be published now, each into its own run, and yield what became of each.

    What W&B has already only goes from this disk.
    """
    ready = sorted((entry for entry in found if why_held(entry) is None), key=_run_of)
    for _, group in groupby(ready, key=_run_of):
        yield from _publish(list(group))


def moved(entry: Entry[RunInfo], *, project: str | None, entity: str | None, run_id: str | None) -> Entry[RunInfo]:
    """Return an entry whose run is in another project, entity or id than the one in its record."""
    run = entry.run
    return entry.with_run(
        replace(run, project=project or run.project, entity=entity or run.entity, id=run_id or run.id)
    )


def _run_of(entry: Entry[RunInfo]) -> tuple[str, str, str, str]:
    run = entry.run
    return run.base_url, run.entity, run.project, run.id


def _publish(group: Sequence[Entry[RunInfo]]) -> Iterator[Attempt]:
    is_new = any(is_unsynced(entry) for entry in group)
    left = deque(group)
    try:
        for result in finished_runs.publish_entries(group, is_new=is_new):
            entry = left.popleft()
            if result.version:
                entry.snapshot.release()
            yield Attempt(entry, result.version, result.reason)
    except (RefusedError, UnreachableError) as error:
        for entry in left:
            yield Attempt(entry, reason=str(error))


def take_over(run: "Run", name: str) -> tuple[Entry[RunInfo], ...]:
    """Take over the entries that killed processes of the run left on this disk, and return them.

    Only what is newer than all that W&B has: it then comes in the order in which it was saved. An offline run's
    snapshots are left to `wandb sync`.
    """
    pending = () if run.offline else entries_of(run, name)
    left = [entry for entry in pending if why_held(entry) is None and is_whole(entry)]
    try:
        versions = ask(partial(logged, run, name)) if left else []
    except UnreachableError as error:
        logger.warning("%d checkpoints of an earlier process are not published yet: %s", len(left), error)
        return ()
    taken = tuple(entry for entry in left if is_newer(entry, versions))
    for entry in taken:
        locks.hold(entry.folder)
        keep_record(entry.with_run(run), entry.digest)  # from now on it is this process's
    return taken


def is_newer(entry: Entry[RunInfo], versions: Sequence[OwnVersion]) -> bool:
    """Return whether an entry was saved later than all versions."""
    return all(moment_of(entry) > version.candidate.moment for version in versions)


def moment_of(entry: Entry[RunInfo]) -> Moment:
    """Return when an entry was saved, for comparison."""
    return moment(entry.checkpoint.to_metadata())


def is_whole(entry: Entry[RunInfo]) -> bool:
    """Return whether the files of an entry have not changed since they were frozen."""
    return all(file.is_unchanged() for file in entry.snapshot.files)


def sweep_in_background(run: "Run") -> None:
    """Remove the entries of dead processes that W&B has as versions. Print one line about those that it has not.

    It looks beside the run's own folder, and only at what is for the run's server.
    """
    here = sync_folder(run).parent
    start("wandb_ckpt_sweep", partial(_sweep, run, here))  # without it the next start sweeps


def _sweep(run: "Run", here: Path) -> None:
    try:
        for folder in here.glob("*/wandb_ckpt/*/"):
            finish_killed_saves(folder)  # what was not yet a snapshot when its process was killed
        unpublished = list(_swept_in(here, run))
    except Exception:  # whatever wandb raises (0.31): nothing is lost, and the next start looks again
        logger.debug("What is left in %s could not be looked up", here, exc_info=True)
        return
    if unpublished:
        _say_unpublished(unpublished, here)


def _swept_in(here: Path, run: "Run") -> Iterator[Entry[RunInfo]]:
    left = sorted((each for each in find(here) if _is_left_behind(each, run.settings.base_url)), key=_artifact_of)
    for _, group in groupby(left, key=_artifact_of):
        yield from _swept(api_for(run), list(group))


def _say_unpublished(unpublished: Sequence[Entry[RunInfo]], here: Path) -> None:
    amount = sum(each.snapshot.size for each in unpublished) / 1e6
    say(
        f"{len(unpublished)} checkpoint{'s' if len(unpublished) > 1 else ''} of earlier processes ({amount:.1f} MB) "
        f"were never published. To list and upload them, run: {command_for(here)}",
        warn=True,
    )


def _is_left_behind(entry: Entry[RunInfo], base_url: str) -> bool:
    return why_held(entry) is None and entry.run.base_url == base_url


def _artifact_of(entry: Entry[RunInfo]) -> tuple[str, str, str]:
    return entry.run.entity, entry.run.project, entry.name


def _swept(api: "Api", group: Sequence[Entry[RunInfo]]) -> Iterator[Entry[RunInfo]]:
    """Remove entries that are versions already, and yield the others."""
    entity, project, name = _artifact_of(group[0])
    standing = LatePublisher(api, f"{entity or api.default_entity}/{project}/{name}")
    for entry in group:
        if entry.digest and standing.version_with(entry.digest):
            entry.snapshot.release()
        else:
            yield entry
