"""What the folder of a wandb run on this disk tells."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


# The size of an offline run's log with nothing in it: the process was killed in its first 15 seconds.
_EMPTY_LOG = 7


def is_synced(folder: Path) -> bool:
    """Returns whether `wandb sync` has uploaded a run's folder."""
    return any(folder.glob("*.wandb.synced"))


def can_be_synced(folder: Path) -> bool:
    """Returns whether a run's folder has a log with something in it, which `wandb sync` can upload."""
    return any(log.stat().st_size > _EMPTY_LOG for log in folder.glob("*.wandb"))
