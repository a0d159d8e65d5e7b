"""LocalFiles: deletes files that a callback wrote and that the rule lets go; owns which ones it wrote."""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wandb_ckpt._artifact import Publication
from wandb_ckpt._checkpoint import Checkpoint
from wandb_ckpt._retention import Candidate, Rule, expendable
from wandb_ckpt._snapshot import Snapshot, SnapshotFile

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class _Written:
    """One checkpoint on this disk: where the parent saved it, and its files there as they were when saved."""

    root: Path
    files: tuple[SnapshotFile, ...]
    candidate: Candidate


class LocalFiles:
    """Remembers what was written, in the order of saving."""

    def __init__(self) -> None:
        self._written: dict[Path, _Written] = {}
        self._number = 0

    def after(self, publication: Publication, rule: Rule) -> None:
        """Takes a checkpoint whose bytes are safe by now, and deletes the older ones that the rule lets go."""
        checkpoint = publication.checkpoint
        root = Path(checkpoint.path).absolute()
        if checkpoint.is_best:
            self._nobody_is_best()
        self._number += 1
        self._written[root] = _Written(
            root, _in_place(root, publication.snapshot), _candidate(self._number, checkpoint)
        )
        for gone in expendable((written.candidate for written in self._written.values()), rule):
            self._delete(gone)

    def _nobody_is_best(self) -> None:
        for root, written in self._written.items():
            self._written[root] = replace(written, candidate=replace(written.candidate, aliases=frozenset()))

    def _delete(self, gone: Candidate) -> None:
        written = next(written for written in self._written.values() if written.candidate == gone)
        del self._written[written.root]
        try:
            _delete_files(written)
        except OSError as error:
            logger.warning("The old checkpoint %s could not be deleted: %s", written.root, error)


def _in_place(root: Path, snapshot: Snapshot) -> tuple[SnapshotFile, ...]:
    base = root if snapshot.is_folder else root.parent
    # The `checkpoint` file of the TF format speaks of all prefixes in its folder, the newest above all.
    names = (file for file in snapshot.files if snapshot.is_folder or file.name != "checkpoint")
    return tuple(replace(file, path=base / file.name) for file in names)


def _candidate(number: int, checkpoint: Checkpoint) -> Candidate:
    aliases = frozenset({"best"}) if checkpoint.is_best else frozenset[str]()
    return Candidate(number=number, aliases=aliases, monitor=checkpoint.monitor, value=checkpoint.value)


def _delete_files(written: _Written) -> None:
    """Deletes what is still as it was saved, and the folders that are empty then."""
    for file in written.files:
        if file.is_unchanged():
            file.path.unlink()
    folders = [path for path in written.root.rglob("*") if path.is_dir()]  # none where it was a file or a prefix
    for folder in sorted([written.root, *folders], reverse=True):
        with suppress(OSError):  # something else is in it, or it is no folder
            folder.rmdir()
