"""Where an offline run went: `wandb sync --project` puts it into another project, and leaves no note of that (0.31).

It leaves the run's artifacts out: it logs them in the run's first project, in which there is no such run.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import wandb

from wandb_ckpt.wandb_api import private

if TYPE_CHECKING:
    from wandb.apis.public import Run as PublicRun


def find_run(entity: str, run_id: str, folder: Path) -> "PublicRun | None":
    """Returns the run that an offline run's folder was synced to, in whatever project of the entity.

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
    """Returns the run at `entity/project/id`; `None` where there is none, or it is not to be seen with this key."""
    try:
        run: PublicRun = wandb.Api().run(path)
    except Exception as error:
        if private.says_no_run(error):
            return None
        raise
    return run
