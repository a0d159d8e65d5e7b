"""Whether an offline run's folder was synced, or can be."""

from pathlib import Path

# The size of an offline run's log with nothing in it: the process was killed in its first 15 seconds.
_EMPTY_LOG = 7


def is_synced(folder: Path) -> bool:
    """Return whether `wandb sync` has uploaded a run's folder."""
    return any(folder.glob("*.wandb.synced"))


def can_be_synced(folder: Path) -> bool:
    """Return whether `wandb sync` can upload a run's folder: whether its log is not empty."""
    return any(log.stat().st_size > _EMPTY_LOG for log in folder.glob("*.wandb"))
