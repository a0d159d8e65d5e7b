"""The run that checkpoints belong to."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import wandb

from wandb_ckpt.outbox.entry import Entry, RunFacts
from wandb_ckpt.outbox.pending import find_of
from wandb_ckpt.wandb_api import private

logger = logging.getLogger("wandb_ckpt")


def active_run(given: "wandb.Run | None") -> "wandb.Run | None":
    """Returns the run that a checkpoint saved now belongs to: the given one, else the active one, else `None`."""
    return given if given is not None else wandb.run


def is_disabled(run: "wandb.Run") -> bool:
    """Returns whether the run is one of `mode="disabled"`, which keeps nothing."""
    return bool(run.disabled)


def sync_folder(run: "wandb.Run") -> Path:
    """Returns the run's own folder on this disk, absolute, whatever the working directory is by now."""
    folder = Path(run.settings.sync_dir)  # relative with `wandb.init(dir="logs")`
    return folder if folder.is_absolute() else private.opened_in(folder)


def run_folder(run: "wandb.Run") -> Path:
    """Returns this package's folder in the run's own folder, which nothing uploads by itself."""
    return sync_folder(run) / "wandb_ckpt"


def run_facts(run: "wandb.Run") -> RunFacts:
    """Returns what a process that does not have the run must know of it."""
    return RunFacts(run.id, run.entity, run.project, run.settings.base_url, run.offline)


def pending_of(run: "wandb.Run", name: str) -> tuple[Entry[RunFacts], ...]:
    """Returns what is pending of one artifact of a run on this disk, oldest first."""
    return find_of(run_facts(run), name, sync_folder(run).parent)


def wandb_folder() -> Path:
    """Returns the folder in which wandb keeps its runs (`WANDB_DIR`)."""
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
    """Opens a run once more, without changing what W&B says of it.

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
        settings=private.settings_that_say_nothing(settings),
    )


def mark_preempting(run: "wandb.Run") -> None:
    """Lets W&B know that the run's machine is being taken away, so that a sweep starts it again elsewhere."""
    try:
        run.mark_preempting()
    except Exception:  # whatever wandb raises (0.31)
        logger.debug("W&B was not told of the preemption", exc_info=True)
