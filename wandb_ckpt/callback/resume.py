"""Restores a run's latest checkpoint, for a training that continues."""

import logging
import shutil
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_ckpt.checkpoint import Checkpoint, finite_scalar, format_of
from wandb_ckpt.errors import RestoreError
from wandb_ckpt.formats.safe_reading import check
from wandb_ckpt.outbox.entry import Entry, RunInfo
from wandb_ckpt.publishing.artifact_target import Target
from wandb_ckpt.publishing.leftovers import is_newer, is_whole, moment_of
from wandb_ckpt.restoring.download import Fetched, fetch_version, from_snapshot
from wandb_ckpt.restoring.nan_check import find_non_finite_layer
from wandb_ckpt.restoring.restore import restore_fetched
from wandb_ckpt.saving import seeds
from wandb_ckpt.saving.atomic import link_tree
from wandb_ckpt.wandb_api.errors import UnreachableError
from wandb_ckpt.wandb_api.run import entries_of
from wandb_ckpt.wandb_api.versions import OwnVersion, logged

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Run

logger = logging.getLogger("wandb_ckpt")


def restore_newest(model: Any, run: "Run", target: Target, near: Path) -> Checkpoint | None:
    """Restore the run's latest checkpoint into a model, with the states of its seed generators.

    Args:
        model: A built model; see `restoring.restore.check_model`.
        run: The run.
        target: Where the callback's checkpoints go.
        near: The folder in which the callback saves: what is there and whole is not downloaded.

    Returns:
        The checkpoint; `None` where there is none yet.

    Raises:
        RestoreError: W&B can't be asked, or the checkpoint can't be trained on from.
        DamagedCheckpointError: A downloaded file is not what the manifest says.
    """
    folder = target.folder / "resumed"
    try:
        fetched = _fetch_newest(run, target.name, folder, near)
        if fetched is None:
            return None
        checkpoint = _restore(model, fetched)
        if layer := find_non_finite_layer(fetched.path, checkpoint.format):
            _warn_of_not_finite(fetched, layer, _newest_finite(run, target.name, folder / "earlier"))
        return checkpoint
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def epoch_after(checkpoint: Checkpoint) -> int:
    """Return the next epoch, or the same epoch for a checkpoint that was saved within it.

    >>> epoch_after(Checkpoint(path="m.keras", format="keras", epoch=2, monitor="loss"))
    3
    >>> epoch_after(Checkpoint(path="m.keras", format="keras", epoch=2, batch=100, monitor="loss"))
    2
    """
    epoch = checkpoint.epoch or 0
    return epoch + 1 if checkpoint.batch is None else epoch


# ---- what is newest ----------------------------------------------------------------------------------------


def _fetch_newest(run: "Run", name: str, folder: Path, near: Path) -> Fetched | None:
    entries = _entries(run, name)
    versions = _versions_of(run, name)
    newest = max(versions, key=lambda version: version.candidate.age, default=None)
    entry = max(entries, key=moment_of, default=None)
    if entry is not None and is_newer(entry, versions):
        try:
            # A second name for its bytes, because the first one goes as soon as it is published.
            link_tree(entry.snapshot.base, folder)
            return from_snapshot(entry, folder)
        except OSError:
            if is_whole(entry):
                raise
            # It was published meanwhile, and went from this disk.
            shutil.rmtree(folder, ignore_errors=True)
            return _fetch_newest(run, name, folder, near)
    return None if newest is None else fetch_version(newest.artifact, folder, near=near)


def _entries(run: "Run", name: str) -> list[Entry[RunInfo]]:
    return [entry for entry in entries_of(run, name) if is_whole(entry)]


def _versions_of(run: "Run", name: str) -> list[OwnVersion]:
    try:
        return [] if run.offline else logged(run, name)
    except UnreachableError as error:
        raise RestoreError(
            f"W&B can't list the checkpoints of run {run.id}: {error}. Nothing was restored. Call resume again "
            "later, or train from the start without it."
        ) from error


# ---- whether it is finite ------------------------------------------------------------------------------------


def _warn_of_not_finite(fetched: Fetched, layer: str, finite: str) -> None:
    logger.warning(
        "%s has NaN or infinite values, such as in %s, and so has the model now. The newest checkpoint of this run "
        "without any is: %s. To train on from it, call wandb_ckpt.restore(model, ref) with it, and pass fit the "
        "initial_epoch after its own.",
        fetched.ref,
        layer,
        finite,
    )


def _newest_finite(run: "Run", name: str, folder: Path) -> str:
    """Return the newest checkpoint without NaN. It is a binary search, because NaN never goes away in training."""
    try:
        kept_here = [
            (moment_of(entry), partial(from_snapshot, entry, entry.snapshot.base)) for entry in _entries(run, name)
        ]
        versions = [
            (version.candidate.moment, partial(_fetch_aside, version, folder)) for version in _versions_of(run, name)
        ]
        fetches = [fetch for _, fetch in sorted([*kept_here, *versions], key=lambda pair: pair[0])]
        first = bisect_left(fetches, True, key=_is_not_finite)
        return fetches[first - 1]().ref if first else "none"
    except Exception:
        # The model is restored, whatever is wrong with another checkpoint.
        logger.debug("Looking for a checkpoint without NaN failed", exc_info=True)
        return "not known, for not all could be looked at"


def _fetch_aside(version: OwnVersion, folder: Path) -> Fetched:
    place = folder / version.artifact.version
    return fetch_version(version.artifact, place, near=place)


def _is_not_finite(fetch: Callable[[], Fetched]) -> bool:
    found = fetch()
    form = format_of(found.path.name, is_folder=found.path.is_dir())
    check(found.path, form, found.ref)
    return find_non_finite_layer(found.path, form) is not None


# ---- its files ---------------------------------------------------------------------------------------------


def _restore(model: Any, fetched: Fetched) -> Checkpoint:
    if finite_scalar(fetched.metadata.get("epoch")) is None:
        raise RestoreError(
            f"{fetched.ref} does not say its epoch, as versions that wandb_ckpt logs do. Put it into the model with "
            f"wandb_ckpt.restore(model, {fetched.ref!r}), and pass fit the initial_epoch that you know."
        )
    checkpoint = restore_fetched(model, fetched)
    seeds.restore_states(model, checkpoint.seeds)
    return checkpoint
