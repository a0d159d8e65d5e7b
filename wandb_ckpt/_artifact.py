"""Checkpoint + Snapshot → wandb.Artifact → committed version. With _reopened and _collection, it knows wandb."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import wandb
from wandb.errors import UsageError

from wandb_ckpt import _record, _wandb_private
from wandb_ckpt._checkpoint import METADATA_KEYS, finite_scalar, moment
from wandb_ckpt._decision import BestTracker
from wandb_ckpt._description import describe
from wandb_ckpt._locks import this_process
from wandb_ckpt._record import Draft, Record, RunFacts
from wandb_ckpt.errors import ArgumentError

logger = logging.getLogger("wandb_ckpt")

# W&B's limit on top-level metadata keys (wandb/sdk/artifacts/_validators.py, 0.31).
_METADATA_MAX = 100
TEMPLATE_KEY, SHARD_KEY = "template", "shard"
OUR_KEYS = METADATA_KEYS | {TEMPLATE_KEY, SHARD_KEY}


# A version that the run of this very process is to log.
Publication: TypeAlias = "Draft[wandb.Run]"


class RefusedError(Exception):
    """This checkpoint can never become a version; trying again is no use."""


class FinishedError(Exception):
    """The run is finished, and takes nothing more from this process."""


class LostError(Exception):
    """wandb gave up what it had taken; it must be handed over again."""


class NoRoomError(LostError):
    """wandb gave it up because a disk is full, and may be able to do it when there is room again."""


class UnreachableError(Exception):
    """W&B, the run or wandb's own service can't be reached now; the checkpoint stays pending."""


def active_run(given: "wandb.Run | None") -> "wandb.Run | None":
    """Returns the run that a checkpoint saved now belongs to: the given one, else the active one, else `None`."""
    return given if given is not None else wandb.run


def is_disabled(run: "wandb.Run") -> bool:
    """Returns whether the run is one of `mode="disabled"`, which keeps nothing."""
    return bool(run.disabled)


def sync_folder(run: "wandb.Run") -> Path:
    """Returns the run's own folder on this disk, absolute, whatever the working directory is by now."""
    folder = Path(run.settings.sync_dir)  # relative with `wandb.init(dir="logs")`
    return folder if folder.is_absolute() else _wandb_private.opened_in(folder)


def run_folder(run: "wandb.Run") -> Path:
    """Returns this package's folder in the run's own folder, which nothing uploads by itself."""
    return sync_folder(run) / "wandb_ckpt"


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a copy of the user's metadata if W&B takes it together with ours.

    Raises:
        ArgumentError: It is no mapping of JSON values, has a key of ours, or has too many keys.
    """
    if not isinstance(metadata or {}, Mapping):
        raise ArgumentError(f"metadata={metadata!r} is no mapping: expected a dict of JSON values.")
    metadata = dict(metadata or {})
    if clash := sorted(OUR_KEYS & set(metadata)):
        raise ArgumentError(f"metadata has {clash}, which the callback itself sets. Rename these keys.")
    if len(metadata) + len(OUR_KEYS) > _METADATA_MAX:
        raise ArgumentError(
            f"metadata has {len(metadata)} keys: W&B takes {_METADATA_MAX}, and {len(OUR_KEYS)} are the "
            "callback's. Nest some of them: only the top level counts."
        )
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata is not JSON ({error}): expected strings, finite numbers, lists, dicts."
        ) from error
    return metadata


def run_facts(run: "wandb.Run") -> RunFacts:
    """Returns what a process that does not have the run must know of it."""
    return RunFacts(run.id, run.entity, run.project, run.settings.base_url, run.offline)


def keep_record(publication: Publication, digest: str = "") -> None:
    """Writes down beside the snapshot what version it is to become, should this process not live to see it.

    Args:
        digest: The artifact's, once it is known: it tells later whether W&B has the version.
    """
    draft = publication.with_run(run_facts(publication.run))
    try:
        _record.write(Record(draft, this_process(), digest))
    except OSError as error:
        place = publication.place
        logger.warning("No later process will know how to publish %s, should this one not do it: %s", place, error)


def prepare(publication: Publication) -> "wandb.Artifact":
    """Returns the artifact of a checkpoint, to be handed over as often as that takes: to hash it takes long.

    Raises:
        RefusedError: wandb refuses it, or something else wrote to the frozen bytes.
        UnreachableError: There is no room on the disk now.
    """
    try:
        if publication.run.offline:
            publication.snapshot.bring_home()  # all that `wandb sync` needs is in the run's own folder
        artifact = build(publication)
    except (ValueError, TypeError, OSError) as error:
        raise (UnreachableError if _wandb_private.says_no_room(error) else RefusedError)(words(error)) from error
    keep_record(publication, artifact.digest)
    return artifact


def hand_over(publication: Publication, artifact: "wandb.Artifact") -> None:
    """Gives an artifact to wandb, which uploads it in a process of its own.

    Raises:
        FinishedError: The run is finished (by `wandb.finish()`, or by leaving `with wandb.init()`).
        RefusedError: W&B refuses the artifact, or something else wrote to the frozen bytes since it was prepared.
        UnreachableError: wandb could not take it now.
    """
    try:
        publication.snapshot.check_unchanged()
        log(publication.run, publication, artifact)
    except (ValueError, TypeError, PermissionError) as error:
        raise RefusedError(words(error)) from error
    except UsageError as error:
        finished = _wandb_private.says_finished(error, publication.run)
        raise (FinishedError if finished else UnreachableError)(words(error)) from error
    except Exception as error:
        # wandb raises CommError, AuthenticationError, MailboxClosedError, TimeoutError, AssertionError … when its
        # server or its service is away (0.31): whatever it is, it must not end training.
        raise UnreachableError(words(error)) from error


def settle(artifact: "wandb.Artifact", publication: Publication) -> str:
    """Waits until an artifact is committed, however long that takes, and returns the version, such as `v3`.

    Where W&B had the same content before, that version is what the checkpoint becomes, and it is given the facts of
    this checkpoint, unless it is `best` as another one.

    It never waits with a timeout, because wandb cancels the upload when one is over (0.31).

    Raises:
        RefusedError: The upload failed for good.
        LostError: wandb, or its service, gave the upload up; NoRoomError, because a disk is full.
        UnreachableError: It is not known whether the version was committed.
    """
    try:
        version: str = artifact.wait().version
    except Exception as error:  # as above
        raise _what_settling_met(error)(words(error)) from error
    correct_facts(artifact, publication)
    return version


def _what_settling_met(error: Exception) -> type[Exception]:
    if isinstance(error, ValueError) and _wandb_private.says_no_room(error):
        return NoRoomError
    if _wandb_private.says_given_up(error):
        return LostError
    return RefusedError if isinstance(error, ValueError) else UnreachableError


def correct_facts(artifact: "wandb.Artifact", publication: Publication) -> None:
    """Gives a version the facts of a checkpoint that has the same bytes as an earlier one.

    They are those of the checkpoint that it is `best` as, else those of the newest.
    """
    checkpoint, known = publication.checkpoint, artifact.metadata
    is_newer = moment(checkpoint.to_metadata()) > moment(known) and "best" not in artifact.aliases
    if is_newer or (checkpoint.is_best and known.get("value") != checkpoint.value):
        try:
            _correct(artifact, publication)
        except UnreachableError as error:
            logger.warning("The metadata of %s has an older value: %s", artifact.name, error)


def _correct(artifact: "wandb.Artifact", publication: Publication) -> None:
    try:
        metadata = _metadata_of(publication, artifact.metadata.get(SHARD_KEY))
        artifact.description, artifact.metadata = describe(publication.checkpoint), metadata
        artifact.save()
    except Exception as error:  # as above
        raise UnreachableError(words(error)) from error


def _metadata_of(publication: Publication, shard: str | None) -> dict[str, Any]:
    ours = {**publication.checkpoint.to_metadata(), TEMPLATE_KEY: publication.template}
    return {**publication.metadata, **ours, **({SHARD_KEY: shard} if shard else {})}


@dataclass(frozen=True, slots=True)
class Memory:
    """What the newest and the best version of an artifact say of the callback that made them."""

    template: str
    monitor: str
    best: float | None


def recall(run: "wandb.Run", name: str) -> Memory | None:
    """Returns what is known of an artifact of the run's project; `None` when there is none of that name.

    It comes from the versions themselves, not from the run's summary, which a killed process may not have sent.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        api = api_of(run)
        path = f"{run.entity}/{run.project}/{name}"
        if not api.artifact_exists(f"{path}:latest"):
            return None
        newest = api.artifact(f"{path}:latest").metadata
    except Exception as error:  # as above
        raise UnreachableError(words(error)) from error
    monitor = str(newest.get("monitor", ""))
    return Memory(str(newest.get(TEMPLATE_KEY, "")), monitor, best_value(run, name, monitor))


def best_value(run: "wandb.Run", name: str, monitor: str) -> float | None:
    """Returns the value of the version that is `best` among those of an artifact of the run's project.

    Returns:
        `None` when there is no such version, or its value is of another quantity.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        api, path = api_of(run), f"{run.entity}/{run.project}/{name}:best"
        metadata = api.artifact(path).metadata if api.artifact_exists(path) else {}
    except Exception as error:  # as above
        raise UnreachableError(words(error)) from error
    return finite_scalar(metadata.get("value")) if metadata.get("monitor") == monitor else None


def say(line: str, *, warn: bool = False) -> None:
    """Prints a line the way wandb prints its own."""
    (wandb.termwarn if warn else wandb.termlog)(f"wandb_ckpt: {line}")


def build(publication: Publication, digest: str = "") -> "wandb.Artifact":
    """Returns the artifact of a checkpoint, hashed but not logged.

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
    """Returns the shards of the one file in a snapshot; none where it can't be split, for it can go as it is."""
    from wandb_ckpt._split import split  # imports h5py

    snapshot = publication.snapshot
    folder = snapshot.root / "shards"
    try:
        (file,) = snapshot.files
        return {name: folder / name for name in split(file.path, folder)}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        logger.warning("%s is published in one piece, for it can't be split: %s", snapshot.root, words(error))
        return {}


def log(run: "wandb.Run", publication: Publication, artifact: "wandb.Artifact") -> "wandb.Artifact":
    """Logs an artifact with its aliases, and notes the best value in the run's summary."""
    checkpoint, key = publication.checkpoint, f"best_{publication.checkpoint.monitor}"
    run.log_artifact(artifact, aliases=list(publication.aliases))
    if checkpoint.is_best:
        # Another callback of the run (a fold, say) may have had a better value under an artifact of its own.
        best = BestTracker(finite_scalar(run.summary.get(key)))  # type: ignore[no-untyped-call]
        if best.observe(checkpoint.value, checkpoint.mode):
            run.summary.update({key: checkpoint.value, publication.epoch_key: checkpoint.epoch})
    return artifact


def mark_preempting(run: "wandb.Run") -> None:
    """Lets W&B know that the run's machine is being taken away, so that a sweep starts it again elsewhere."""
    try:
        run.mark_preempting()
    except Exception:  # as above
        logger.debug("W&B was not told of the preemption", exc_info=True)


def api_of(run: "wandb.Run") -> "wandb.Api":
    """Returns an API for the server that the run is on."""
    return wandb.Api(overrides={"base_url": run.settings.base_url}, api_key=run.settings.api_key)


def words(error: BaseException) -> str:
    """Returns what an error says, or its name where it says nothing."""
    return str(error) or type(error).__name__
