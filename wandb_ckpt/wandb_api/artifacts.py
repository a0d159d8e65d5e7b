"""Turns a checkpoint into a wandb artifact, logs it, and waits until its version is committed."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import wandb
from wandb.errors import UsageError

from wandb_ckpt.checkpoint import Checkpoint, finite_scalar, moment
from wandb_ckpt.locks import this_process
from wandb_ckpt.outbox.entry import Entry, write_record
from wandb_ckpt.policy.best import beside, best_of
from wandb_ckpt.policy.description import describe
from wandb_ckpt.policy.metadata import SHARD_KEY, TEMPLATE_KEY
from wandb_ckpt.wandb_api import private
from wandb_ckpt.wandb_api.api import api_for
from wandb_ckpt.wandb_api.errors import (
    FinishedError,
    LostError,
    RefusedError,
    TemporaryError,
    UnreachableError,
    message_of,
)
from wandb_ckpt.wandb_api.run import run_info

logger = logging.getLogger("wandb_ckpt")


# A version that the run of this very process is to log.
Publication: TypeAlias = "Entry[wandb.Run]"


def keep_record(publication: Publication, digest: str = "") -> None:
    """Write the record of an entry, so that a later process can publish it.

    Args:
        digest: The artifact's, once it is known: it tells later whether W&B has the version.
    """
    entry = replace(publication.with_run(run_info(publication.run)), owner=this_process(), digest=digest)
    try:
        write_record(entry)
    except OSError as error:
        place = publication.place
        logger.warning("The record of %s could not be written, so no later process can publish it: %s", place, error)


def prepare(publication: Publication) -> "wandb.Artifact":
    """Return the artifact of a checkpoint. It is made once, because hashing takes long.

    Raises:
        RefusedError: wandb refuses it, or something else wrote to the frozen bytes.
        UnreachableError: There is no room on the disk now.
    """
    try:
        if publication.run.offline:
            publication.snapshot.bring_home()  # all that `wandb sync` needs is in the run's own folder
        artifact = build(publication)
    except (ValueError, TypeError, OSError) as error:
        raise (UnreachableError if private.is_disk_full(error) else RefusedError)(message_of(error)) from error
    keep_record(publication, artifact.digest)
    return artifact


def hand_over(publication: Publication, artifact: "wandb.Artifact") -> None:
    """Hand an artifact over to wandb, which uploads it in a process of its own.

    Raises:
        FinishedError: The run is finished (by `wandb.finish()`, or by leaving `with wandb.init()`).
        RefusedError: W&B refuses the artifact, or something else wrote to the frozen bytes since it was prepared.
        UnreachableError: wandb could not take it now.
    """
    try:
        publication.snapshot.check_unchanged()
        log(publication, artifact)
        write_best_to_summary(publication)
    except (ValueError, TypeError, PermissionError) as error:
        raise RefusedError(message_of(error)) from error
    except UsageError as error:
        finished = private.is_run_finished(error, publication.run)
        raise (FinishedError if finished else UnreachableError)(message_of(error)) from error
    except Exception as error:
        # wandb raises CommError, AuthenticationError, MailboxClosedError, TimeoutError, AssertionError … when its
        # server or its service is away (0.31): whatever it is, it must not end training.
        raise UnreachableError(message_of(error)) from error


def settle(artifact: "wandb.Artifact") -> str:
    """Wait until an artifact is committed, without a time limit, and return the version, such as `v3`.

    It never waits with a timeout, because wandb cancels the upload when one is over (0.31).

    Raises:
        RefusedError: The upload failed for good.
        LostError: wandb, or its service, gave the upload up; TemporaryError, because of what passes.
        UnreachableError: It is not known whether the version was committed.
    """
    try:
        version: str = artifact.wait().version
    except Exception as error:  # as above
        raise _what_settling_met(error)(message_of(error)) from error
    return version


def _what_settling_met(error: Exception) -> type[Exception]:
    if isinstance(error, ValueError) and private.is_temporary(error):
        return TemporaryError
    if private.is_abandoned(error):
        return LostError
    return RefusedError if isinstance(error, ValueError) else UnreachableError


def correct(artifact: "wandb.Artifact", publication: Publication, *, is_changed: bool) -> None:
    """Update a version's aliases, metadata and description, and the run's summary, once it is committed.

    It may have become the best since it was handed over, because a better one failed. Where several checkpoints have
    the same bytes, their version has the facts of the one that it is `best` as, else those of the newest.

    Args:
        is_changed: Whether it may have become the best. Otherwise a version that has no `best` has lost it to a
            better one, which is committed and waited for next.
    """
    try:
        if _is_to_be_corrected(artifact, publication.checkpoint, is_changed=is_changed):
            _correct(artifact, publication, is_changed=is_changed)
        if is_changed or not private.has_finished(publication.run):  # it may have been taken back with a failed one
            write_best_to_summary(publication)
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning(
            "What %s, or the run's summary, says of the best is out of date: %s", artifact.name, message_of(error)
        )


def _is_to_be_corrected(artifact: "wandb.Artifact", checkpoint: Checkpoint, *, is_changed: bool) -> bool:
    ours, known, is_promoted = checkpoint.to_metadata(), artifact.metadata, is_changed and checkpoint.is_best
    if "best" not in artifact.aliases and (is_promoted or moment(ours) > moment(known)):
        return True
    is_about_it = checkpoint.is_best or moment(ours) == moment(known)
    return is_about_it and any(ours[name] != known.get(name) for name in ("value", "best"))


def _correct(artifact: "wandb.Artifact", publication: Publication, *, is_changed: bool) -> None:
    artifact.description = describe(publication.checkpoint)
    artifact.metadata = _metadata_of(publication, artifact.metadata.get(SHARD_KEY))
    if is_changed and publication.checkpoint.is_best and "best" not in artifact.aliases:
        artifact.aliases = [*artifact.aliases, "best"]
    artifact.save()


def _metadata_of(publication: Publication, shard: str | None) -> dict[str, Any]:
    ours = {**publication.checkpoint.to_metadata(), TEMPLATE_KEY: publication.template}
    return {**publication.metadata, **ours, **({SHARD_KEY: shard} if shard else {})}


def build(publication: Publication, digest: str = "") -> "wandb.Artifact":
    """Return the artifact of a checkpoint, hashed but not logged.

    Args:
        digest: The artifact's, where it was built before: with it, files may be copies with other times.

    Raises:
        ValueError: wandb refuses it, or something else wrote to the frozen bytes.
        OSError: The frozen bytes can't be read.
    """
    snapshot = publication.snapshot
    shards = _shards_of(publication) if publication.shard else {}
    # Its digests are MD5: with XXH128, wandb's service hashes each file once more for the MD5 that an upload needs,
    # and a version is committed no sooner (0.31, measured).
    artifact = wandb.Artifact(
        publication.name,
        type="model",
        description=describe(publication.checkpoint),
        metadata=_metadata_of(publication, publication.shard if shards else None),
    )
    snapshot.flush()
    for name, path in (shards or {file.name: file.path for file in snapshot.files}).items():
        # Frozen bytes need neither wandb's staging copy nor its cache copy.
        artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
    if artifact.digest != digest:
        snapshot.check_unchanged()
    return artifact


def _shards_of(publication: Publication) -> dict[str, Path]:
    """Return the shards of the one file in a snapshot, or none if it can't be split."""
    from wandb_ckpt.formats.split_shards import split

    snapshot = publication.snapshot
    folder = snapshot.root / "shards"
    try:
        (file,) = snapshot.files
        return {name: folder / name for name in split(file.path, folder)}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        logger.warning("%s is published as one file, because it can't be split: %s", snapshot.root, message_of(error))
        return {}


def log(publication: Publication, artifact: "wandb.Artifact") -> "wandb.Artifact":
    """Log an artifact with its aliases."""
    return publication.run.log_artifact(artifact, aliases=list(publication.aliases))


def write_best_to_summary(publication: Publication) -> None:
    """Write the best value into the run's summary, before the commit, because the run may end before that."""
    checkpoint = publication.checkpoint
    # Another callback of the run (a fold, say) may have had a better value under an artifact of its own.
    if checkpoint.is_best and beside(checkpoint, [_noted_best(publication)]).is_best:
        _note(publication, checkpoint.value, checkpoint.epoch)


def remove_best_from_summary(publication: Publication) -> None:
    """Replace the value of a checkpoint that failed, in the run's summary, by the best one that W&B has.

    What is on its way to W&B is noted once it is committed.
    """
    checkpoint, run = publication.checkpoint, publication.run
    try:
        is_finished = private.has_finished(run)
        if run.offline or checkpoint.value is None or (is_finished and not checkpoint.is_best):
            return
        if is_finished:
            raise RuntimeError("the run is finished")
        if _noted_best(publication) != checkpoint.value:
            return  # it was not noted, or another checkpoint was better
        logged = api_for(run).run(f"{run.entity}/{run.project}/{run.id}").logged_artifacts()
        known = [version.metadata for version in logged if version.state == "COMMITTED"]
        epochs = {each.get("value"): each.get("epoch") for each in known if each.get("monitor") == checkpoint.monitor}
        best = best_of(map(finite_scalar, epochs), checkpoint.mode)
        _note(publication, best, epochs.get(best))
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning("The run's summary has the value of a checkpoint that failed: %s", message_of(error))


def _noted_best(publication: Publication) -> float | None:
    summary: Any = publication.run.summary
    return finite_scalar(summary.get(f"best_{publication.checkpoint.monitor}"))


def _note(publication: Publication, value: float | None, epoch: int | None) -> None:
    summary: Any = publication.run.summary
    noted = {f"best_{publication.checkpoint.monitor}": value, publication.epoch_key: epoch}
    if value is not None:
        summary.update(noted)
    else:
        for key in noted:
            del summary[key]
