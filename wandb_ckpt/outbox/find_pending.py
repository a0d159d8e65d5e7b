"""Finds the checkpoints on this disk that are still to be published."""

from collections.abc import Iterable
from glob import escape
from pathlib import Path

from wandb_ckpt.locks import is_alive
from wandb_ckpt.outbox.entry import FILE_NAME, Entry, RunInfo, read_record
from wandb_ckpt.outbox.run_folder import can_be_synced, is_synced
from wandb_ckpt.saving.atomic import PREFIX

# Where entries lie, seen from one, its artifact's folder, this package's, a run's, wandb's, and what holds that.
_DEPTHS = ("", "*/", "*/*/", "wandb_ckpt/*/*/", "*/wandb_ckpt/*/*/", "wandb/*/wandb_ckpt/*/*/")


def find(*paths: Path) -> tuple[Entry[RunInfo], ...]:
    """Return the entries under the paths, oldest first.

    Args:
        paths: Folders of entries, of runs, of wandb, or what holds wandb's.
    """
    return _read(file for root in paths for depth in _DEPTHS for file in root.glob(f"{depth}{FILE_NAME}"))


def find_entries_of(run: RunInfo, name: str, wandb_folder: Path) -> tuple[Entry[RunInfo], ...]:
    """Return the entries of one artifact of a run, oldest first.

    It reads no other records, for training waits meanwhile: wandb's folders are named after their run.

    Args:
        wandb_folder: The folder of wandb that holds the run's folders.
    """
    found = _read(wandb_folder.glob(f"*-{escape(run.id)}*/wandb_ckpt/{escape(name)}/*/{FILE_NAME}"))
    return tuple(entry for entry in found if (entry.run, entry.name) == (run, name))


def why_held(entry: Entry[RunInfo]) -> str | None:
    """Return why this process can't publish an entry now, or `None` when it can."""
    if entry.owner is not None and is_alive(entry.owner.token, entry.folder.parent):
        return f"process {entry.owner.pid} on {entry.owner.host} is publishing it"
    if is_unsynced(entry) and can_be_synced(_run_folder(entry)):
        return f"the run is offline: wandb sync {_run_folder(entry)}"
    return None


def is_unsynced(entry: Entry[RunInfo]) -> bool:
    """Return whether an entry is of an offline run that `wandb sync` has not uploaded."""
    return entry.run.offline and not is_synced(_run_folder(entry))


def _run_folder(entry: Entry[RunInfo]) -> Path:
    return entry.folder.parents[2]  # where it lies in one


def _read(files: Iterable[Path]) -> tuple[Entry[RunInfo], ...]:
    folders = {file.resolve().parent for file in files}  # `latest-run` is a link to one of its neighbours
    whole = (folder for folder in folders if not folder.name.startswith(PREFIX))  # the rest is in the making
    return tuple(filter(None, (read_record(folder) for folder in sorted(whole, key=lambda folder: folder.name))))
