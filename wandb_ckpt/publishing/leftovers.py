"""Publishes, or removes, what earlier processes left in the outbox."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from wandb_ckpt.outbox.pending import Pending, find
from wandb_ckpt.outbox.record import command_for
from wandb_ckpt.publishing import finished_runs
from wandb_ckpt.saving.atomic import finish_killed_saves
from wandb_ckpt.threads import start
from wandb_ckpt.wandb_api.aliases import Standing
from wandb_ckpt.wandb_api.api import api_for
from wandb_ckpt.wandb_api.console import say
from wandb_ckpt.wandb_api.errors import RefusedError, UnreachableError
from wandb_ckpt.wandb_api.run import sync_folder

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Api, Run


logger = logging.getLogger("wandb_ckpt")


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
        for result in finished_runs.publish_records([pending.record for pending in group], is_new=is_new):
            pending = left.popleft()
            if result.version:
                pending.record.draft.snapshot.release()
            yield Attempt(pending, result.version, result.reason)
    except (RefusedError, UnreachableError) as error:
        for pending in left:
            yield Attempt(pending, reason=str(error))


def sweep_in_background(run: "Run") -> None:
    """Removes what dead processes left of versions that W&B has, and says in one line what W&B doesn't have.

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


def _swept_in(here: Path, run: "Run") -> Iterator[Pending]:
    left = sorted((each for each in find(here) if _is_left_behind(each, run.settings.base_url)), key=_artifact_of)
    for _, group in groupby(left, key=_artifact_of):
        yield from _swept(api_for(run), list(group))


def _say_unpublished(unpublished: Sequence[Pending], here: Path) -> None:
    amount = sum(each.record.draft.snapshot.size for each in unpublished) / 1e6
    say(
        f"{len(unpublished)} checkpoint{'s' if len(unpublished) > 1 else ''} of earlier processes ({amount:.1f} MB) "
        f"were never published. This lists them, and publishes them: {command_for(here)}",
        warn=True,
    )


def _is_left_behind(pending: Pending, base_url: str) -> bool:
    return pending.hold is None and pending.record.draft.run.base_url == base_url


def _artifact_of(pending: Pending) -> tuple[str, str, str]:
    draft = pending.record.draft
    return draft.run.entity, draft.run.project, draft.name


def _swept(api: "Api", group: Sequence[Pending]) -> Iterator[Pending]:
    """Removes what is a version, and yields the rest."""
    entity, project, name = _artifact_of(group[0])
    standing = Standing(api, f"{entity or api.default_entity}/{project}/{name}")
    for pending in group:
        if pending.record.digest and standing.version_with(pending.record.digest):
            pending.record.draft.snapshot.release()
        else:
            yield pending
