"""LocalFiles: deletes old files of a callback on this disk. It owns the list of files that were written.

What was written is kept in the run's own folder, so that a later process of the run goes on with it.
"""

import glob
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wandb_ckpt.checkpoint import Checkpoint, moment
from wandb_ckpt.outbox.snapshot import Snapshot, SnapshotFile
from wandb_ckpt.policy.retention import Candidate, Rule, deletable
from wandb_ckpt.wandb_api.artifacts import Publication
from wandb_ckpt.wandb_api.run import run_folder

logger = logging.getLogger("wandb_ckpt")


@dataclass(frozen=True, slots=True)
class _Written:
    """One checkpoint on this disk: where Keras saved it, and its files as they were then."""

    root: Path
    files: tuple[SnapshotFile, ...]
    candidate: Candidate


class LocalFiles:
    """The files that were written under each artifact's name, in the order of saving."""

    def __init__(self) -> None:
        self._files: dict[Path, _Files] = {}

    def after(self, publication: Publication, rule: Rule) -> None:
        """Note a checkpoint that is published, and delete older ones by the rule."""
        note = run_folder(publication.run) / "local" / f"{publication.name}.json"
        if note not in self._files:
            self._files[note] = _Files(note, _written_before(note, publication.run.id))
        self._files[note].after(publication, rule)


class _Files:
    """The files of one artifact of a run.

    Args:
        note: The file that lists what was written.
        written: What was written before.
    """

    def __init__(self, note: Path, written: Iterator[_Written]) -> None:
        self._note = note
        self._written: dict[Path, _Written] = {}
        self._number = 0
        for each in written:
            self._add(each)

    def after(self, publication: Publication, rule: Rule) -> None:
        """See `LocalFiles.after`."""
        checkpoint = publication.checkpoint
        root = publication.place
        if checkpoint.is_best:
            self._nobody_is_best()
        self._add(_Written(root, _in_place(root, publication.snapshot), _candidate(checkpoint)))
        for gone in deletable((written.candidate for written in self._written.values()), rule):
            self._delete(gone)
        self._keep_note()

    def _add(self, written: _Written) -> None:
        self._number += 1
        self._written.pop(written.root, None)  # the newest comes last
        self._written[written.root] = replace(written, candidate=replace(written.candidate, number=self._number))

    def _keep_note(self) -> None:
        aside = self._note.with_suffix(".new")
        try:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps([_encoded(each) for each in self._written.values()]), encoding="utf-8")
            aside.replace(self._note)
        except OSError as error:
            logger.warning(
                "The list of written files could not be saved, so a later process will not delete them: %s", error
            )

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


def _candidate(checkpoint: Checkpoint) -> Candidate:
    aliases = frozenset({"best"}) if checkpoint.is_best else frozenset[str]()
    saved = moment(checkpoint.to_metadata())
    return Candidate(number=0, moment=saved, aliases=aliases, monitor=checkpoint.monitor, value=checkpoint.value)


def _written_before(note: Path, run_id: str) -> Iterator[_Written]:
    """Yield what earlier callbacks and processes of the run wrote and still exists, oldest first."""
    name = note.relative_to(note.parents[2])
    for earlier in sorted(note.parents[3].glob(f"*-{glob.escape(run_id)}/{glob.escape(str(name))}")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # nobody's, then
            written = [_decoded(values) for values in json.loads(earlier.read_text(encoding="utf-8"))]
            yield from (each for each in written if any(file.path.exists() for file in each.files))


def _encoded(written: _Written) -> dict[str, Any]:
    files = [[file.name, str(file.path), file.size, file.mtime_ns] for file in written.files]
    candidate = written.candidate
    facts = {"aliases": sorted(candidate.aliases), "monitor": candidate.monitor, "value": candidate.value}
    return {"root": str(written.root), "files": files, "moment": candidate.moment, **facts}


def _decoded(values: Mapping[str, Any]) -> _Written:
    files = tuple(SnapshotFile(name, Path(path), size, time_ns) for name, path, size, time_ns in values["files"])
    candidate = Candidate(
        number=0,
        moment=tuple(values["moment"]),
        aliases=frozenset(values["aliases"]),
        monitor=values["monitor"],
        value=values["value"],
    )
    return _Written(Path(values["root"]), files, candidate)


def _delete_files(written: _Written) -> None:
    """Delete files that nobody has changed, and folders that are empty then."""
    for file in written.files:
        if file.is_unchanged():
            file.path.unlink()
    folders = [path for path in written.root.rglob("*") if path.is_dir()]  # none where it was a file or a prefix
    for folder in sorted([written.root, *folders], reverse=True):
        with suppress(OSError):  # something else is in it, or it is no folder
            folder.rmdir()
