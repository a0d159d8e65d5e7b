"""Finds offline runs that `wandb sync --project` put into another project, which wandb notes nowhere (0.31).

The sync leaves the run's artifacts out: it logs them in the first project, which has no such run.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import wandb

from wandb_ckpt.wandb_api import private

if TYPE_CHECKING:
    from wandb.apis.public import Run as PublicRun


def find_run(entity: str, run_id: str, folder: Path) -> "PublicRun | None":
    """Return the run that an offline run's folder was synced to, in any project of the entity.

    Its id alone does not tell, for users choose ids such as `fold-1`: its metadata file must be the folder's, which
    has the moment when the run began, its machine and its command.
    """
    try:
        metadata = json.loads((folder / "files" / "wandb-metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    projects = wandb.Api().projects(entity)
    runs = (look_up(f"{entity}/{project.name}/{run_id}") for project in projects)
    return next((run for run in runs if run is not None and run.metadata == metadata), None)


def look_up(path: str) -> "PublicRun | None":
    """Return the run at `entity/project/id`, or `None` if there is none, or no access to it."""
    try:
        run: PublicRun = wandb.Api().run(path)
    except Exception as error:
        if private.is_run_missing(error):
            return None
        raise
    return run
