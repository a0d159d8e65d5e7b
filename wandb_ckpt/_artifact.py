"""Checkpoint + Snapshot → wandb.Artifact → committed version. With _collection, the only module that knows wandb."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import UsageError
from wandb.sdk.artifacts.exceptions import WaitTimeoutError

from wandb_ckpt._checkpoint import METADATA_KEYS, Checkpoint, finite_scalar
from wandb_ckpt._description import describe
from wandb_ckpt._snapshot import Snapshot
from wandb_ckpt.errors import ArgumentError

# W&B's limit on top-level metadata keys (wandb/sdk/artifacts/_validators.py, 0.31).
_METADATA_MAX = 100


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that one version is made of.

    Attributes:
        run: The run that logs it.
        name: The artifact's name.
        aliases: The version's aliases.
        metadata: The user's own metadata.
        is_default_name: Whether `name` is the run's default, whose best epoch is the run's `best_epoch`.
    """

    run: "wandb.Run"
    name: str
    checkpoint: Checkpoint
    snapshot: Snapshot
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    is_default_name: bool = True


class RefusedError(Exception):
    """This checkpoint can never become a version; trying again is no use."""


class UnreachableError(Exception):
    """W&B, the run or wandb's own service can't be reached now; the checkpoint stays pending."""


def active_run(given: "wandb.Run | None") -> "wandb.Run | None":
    """Returns the run that a checkpoint saved now belongs to: the given one, else the active one, else `None`."""
    return given if given is not None else wandb.run


def is_disabled(run: "wandb.Run") -> bool:
    """Returns whether the run is one of `mode="disabled"`, which keeps nothing."""
    return bool(run.disabled)


def run_folder(run: "wandb.Run") -> Path:
    """Returns this package's folder in the run's own folder on this disk, which nothing uploads by itself."""
    return Path(run.settings.sync_dir) / "wandb_ckpt"


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a copy of the user's metadata if W&B takes it together with ours.

    Raises:
        ArgumentError: It is no mapping of JSON values, has a key of ours, or has too many keys.
    """
    if not isinstance(metadata or {}, Mapping):
        raise ArgumentError(f"metadata={metadata!r} is no mapping: expected a dict of JSON values.")
    metadata = dict(metadata or {})
    if clash := sorted(METADATA_KEYS & set(metadata)):
        raise ArgumentError(f"metadata has {clash}, which the callback itself sets. Rename these keys.")
    if len(metadata) + len(METADATA_KEYS) > _METADATA_MAX:
        raise ArgumentError(
            f"metadata has {len(metadata)} keys: W&B takes {_METADATA_MAX}, and {len(METADATA_KEYS)} are the "
            "callback's. Nest some of them: only the top level counts."
        )
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata is not JSON ({error}): expected strings, finite numbers, lists, dicts."
        ) from error
    return metadata


def hand_over(publication: Publication) -> "wandb.Artifact":
    """Gives a checkpoint to wandb, which uploads it in a process of its own, and returns the artifact.

    A run that was finished meanwhile (by `wandb.finish()`, or by leaving `with wandb.init()` on an exception)
    is opened once more for it.

    Raises:
        RefusedError: W&B refuses the artifact, or something else wrote to the frozen bytes.
        UnreachableError: wandb could not take it now.
    """
    try:
        artifact = _build(publication)
        return _log(publication, artifact)
    except (ValueError, TypeError, OSError) as error:
        if isinstance(error, ConnectionError):
            raise UnreachableError(_words(error)) from error
        raise RefusedError(_words(error)) from error
    except Exception as error:
        # wandb raises CommError, AuthenticationError, MailboxClosedError, AssertionError … when its server or
        # its service is away (0.31): whatever it is, it must not end training.
        raise UnreachableError(_words(error)) from error


def settle(artifact: "wandb.Artifact", timeout: int) -> str | None:
    """Returns the committed version such as `v3`, or `None` if that takes longer than `timeout` seconds.

    Raises:
        RefusedError: The upload failed for good.
        UnreachableError: It is not known whether the version was committed.
    """
    try:
        return artifact.wait(timeout=timeout).version
    except WaitTimeoutError:
        return None
    except ValueError as error:
        raise RefusedError(_words(error)) from error
    except Exception as error:  # as above
        raise UnreachableError(_words(error)) from error


def best_so_far(run: "wandb.Run", name: str, monitor: str) -> float | None:
    """Returns the monitored value of the version that is `best` now; `None` when there is none for `monitor`.

    It comes from the version itself, not from the run's summary, which a killed process may not have sent.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    ref = f"{run.entity}/{run.project}/{name}:best"
    try:
        api = _api(run)
        metadata = api.artifact(ref).metadata if api.artifact_exists(ref) else {}
    except Exception as error:  # as above
        raise UnreachableError(_words(error)) from error
    return finite_scalar(metadata.get("value")) if metadata.get("monitor") == monitor else None


def say(line: str, *, warn: bool = False) -> None:
    """Prints a line the way wandb prints its own."""
    (wandb.termwarn if warn else wandb.termlog)(f"wandb_ckpt: {line}")


def _build(publication: Publication) -> "wandb.Artifact":
    checkpoint = publication.checkpoint
    artifact = wandb.Artifact(
        publication.name,
        type="model",
        description=describe(checkpoint),
        metadata={**publication.metadata, **checkpoint.to_metadata()},
    )
    snapshot = publication.snapshot
    snapshot.flush()
    for file in snapshot.files:
        # Frozen bytes need neither wandb's staging copy nor its cache copy.
        artifact.add_file(str(file.path), name=file.name, policy="immutable", skip_cache=True)
    if changed := snapshot.changed_files():
        raise ValueError(
            f"something else wrote to {', '.join(changed)} after it was saved, so its bytes are not those of "
            "the checkpoint. Let nothing else write to this path, or pass policy='mutable' to copy at save time"
        )
    return artifact


def _log(publication: Publication, artifact: "wandb.Artifact") -> "wandb.Artifact":
    try:
        return _log_to(publication.run, publication, artifact)
    except UsageError:  # what wandb raises for a finished run
        with _reopened(publication.run) as run:
            return (
                _log_to(run, publication, artifact).wait() if not run.offline else _log_to(run, publication, artifact)
            )


def _log_to(run: "wandb.Run", publication: Publication, artifact: "wandb.Artifact") -> "wandb.Artifact":
    run.log_artifact(artifact, aliases=list(publication.aliases))
    _note_best(run, publication)
    return artifact


def _note_best(run: "wandb.Run", publication: Publication) -> None:
    checkpoint = publication.checkpoint
    if not checkpoint.is_best:
        return
    # Where a run has several such callbacks, `best_epoch` is that of the first, who has the default name.
    epoch = "best_epoch" if publication.is_default_name else f"best_{checkpoint.monitor}_epoch"
    run.summary.update({f"best_{checkpoint.monitor}": checkpoint.value, epoch: checkpoint.epoch})


@contextmanager
def _reopened(run: "wandb.Run") -> Iterator["wandb.Run"]:
    again = wandb.init(
        entity=run.entity,
        project=run.project,
        id=run.id,
        resume=None if run.offline else "must",
        reinit="create_new",
        mode="offline" if run.offline else "online",
        settings=wandb.Settings(base_url=run.settings.base_url, api_key=run.settings.api_key, console="off"),
    )
    state = 0
    try:
        state = 0 if run.offline or _api(run).run(run.path).state != "failed" else 1
        yield again
    finally:
        again.finish(exit_code=state)


def _api(run: "wandb.Run") -> "wandb.Api":
    return wandb.Api(overrides={"base_url": run.settings.base_url}, api_key=run.settings.api_key)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
