"""The run that checkpoints belong to."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import wandb

from wandb_ckpt.outbox.entry import Entry, RunInfo
from wandb_ckpt.outbox.find_pending import find_entries_of
from wandb_ckpt.wandb_api import private

logger = logging.getLogger("wandb_ckpt")


def active_run(given: "wandb.Run | None") -> "wandb.Run | None":
    """Return the given run, else the active run, else `None`."""
    return given if given is not None else wandb.run


def is_disabled(run: "wandb.Run") -> bool:
    """Return whether the run has `mode="disabled"`, so it keeps nothing."""
    return bool(run.disabled)


def sync_folder(run: "wandb.Run") -> Path:
    """Return the absolute path of the run's folder on this disk."""
    folder = Path(run.settings.sync_dir)  # relative with `wandb.init(dir="logs")`
    return folder if folder.is_absolute() else private.absolute_run_folder(folder)


def run_folder(run: "wandb.Run") -> Path:
    """Return this package's folder in the run's folder. wandb does not upload it."""
    return sync_folder(run) / "wandb_ckpt"


def run_info(run: "wandb.Run") -> RunInfo:
    """Return what another process must know about the run."""
    return RunInfo(run.id, run.entity, run.project, run.settings.base_url, run.offline)


def entries_of(run: "wandb.Run", name: str) -> tuple[Entry[RunInfo], ...]:
    """Return the entries of one artifact of a run on this disk, oldest first."""
    return find_entries_of(run_info(run), name, sync_folder(run).parent)


def wandb_folder() -> Path:
    """Return the folder in which wandb keeps its runs (`WANDB_DIR`)."""
    return Path(wandb.setup().settings.wandb_dir)


def open_again(
    run_id: str,
    *,
    entity: str,
    project: str,
    folder: str,
    resume: Literal["allow", "must"] | None,
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> "wandb.Run":
    """Open a run again, without changing its description on W&B.

    Args:
        folder: Where wandb puts its own folder.
        resume: `None` for an offline run; `"allow"` where the run may not be on the server yet.
        config: The run's own.
        settings: What else of its description is to be kept.
    """
    return wandb.init(
        id=run_id,
        entity=entity or None,
        project=project,
        dir=folder,
        mode="offline" if resume is None else "online",
        resume=resume,
        config=dict(config),
        settings=private.unchanging_settings(settings),
    )


def mark_preempting(run: "wandb.Run") -> None:
    """Mark a run as preempting, so that a sweep starts it again elsewhere."""
    try:
        run.mark_preempting()
    except Exception:  # whatever wandb raises (0.31)
        logger.debug("W&B was not told of the preemption", exc_info=True)
