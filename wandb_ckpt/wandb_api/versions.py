"""Lists, deletes, links and looks up versions, and lets them expire."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import wandb
from wandb.errors import CommError

from wandb_ckpt.checkpoint import finite_scalar, moment
from wandb_ckpt.policy.metadata import TEMPLATE_KEY
from wandb_ckpt.policy.retention import Candidate
from wandb_ckpt.wandb_api.api import api_for
from wandb_ckpt.wandb_api.errors import UnreachableError, message_of
from wandb_ckpt.wandb_api.refs import full_name


@dataclass(frozen=True, slots=True)
class OwnVersion:
    """A committed version that a run logged.

    Attributes:
        candidate: What the retention rule needs, except for what `is_free` asks W&B.
        artifact: wandb's own object.
    """

    candidate: Candidate
    artifact: wandb.Artifact

    @property
    def ref(self) -> str:
        """`entity/project/name:v3`."""
        return full_name(self.artifact)


def logged(run: wandb.Run, name: str) -> list[OwnVersion]:
    """Return the committed versions of an artifact that a run logged.

    A version that was another run's before this one logged the same content is among them.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        found = api_for(run).run(f"{run.entity}/{run.project}/{run.id}").logged_artifacts()
        return [
            OwnVersion(candidate_of(artifact), artifact) for artifact in found if _is_version_of(artifact, run, name)
        ]
    except Exception as error:
        # Whatever wandb raises (see artifacts), it must not end what is in the background. So it is below.
        raise UnreachableError(message_of(error)) from error


def candidate_of(artifact: wandb.Artifact) -> Candidate:
    """Return what the retention rule needs of a version, except for what `is_free` asks W&B."""
    metadata = artifact.metadata
    return Candidate(
        number=int(artifact.version.removeprefix("v")),
        moment=moment(metadata),
        aliases=frozenset(artifact.aliases),
        monitor=str(metadata.get("monitor", "")),
        value=finite_scalar(metadata.get("value")),
    )


def is_free(artifact: wandb.Artifact, run: wandb.Run) -> bool:
    """Return whether the run logged the version first, and nobody has linked it.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        first = artifact.logged_by()
        is_own = first is not None and first.path == [run.entity, run.project, run.id]
        return is_own and not artifact.linked_artifacts
    except Exception as error:
        raise UnreachableError(message_of(error)) from error


def remove(artifact: wandb.Artifact) -> None:
    """Delete a version with the aliases that are known here. W&B refuses if it has another one by now.

    Raises:
        UnreachableError: W&B refuses, or can't be reached now. The version is as it was.
    """
    aliases = list(artifact.aliases)
    try:
        # With delete_aliases=True a `best` that moves here meanwhile would be lost with the version: identical
        # content makes no new one. A version without aliases W&B deletes only if it has none, in one step.
        _set_aliases(artifact, [])
        artifact.delete()
    except Exception as error:
        _put_back(artifact, aliases)
        raise UnreachableError(message_of(error)) from error


def set_ttl(artifact: wandb.Artifact, ttl: timedelta | None) -> None:
    """Set the time to live of a version, counted from when it was logged; `None` for the team's default.

    Raises:
        UnreachableError: W&B refuses, or can't be reached now.
    """
    try:
        artifact.ttl = wandb.ArtifactTTL.INHERIT if ttl is None else ttl
        artifact.save()
    except Exception as error:
        raise UnreachableError(message_of(error)) from error


def link(run: wandb.Run, ref: str, path: str, aliases: Iterable[str]) -> None:
    """Link a version (`name:v3`) of the run's project into the collection at `path`.

    Raises:
        UnreachableError: W&B refuses, or can't be reached now.
    """
    try:
        api_for(run).artifact(f"{run.entity}/{run.project}/{ref}").link(path, aliases=list(aliases))
    except Exception as error:
        raise UnreachableError(message_of(error)) from error


def _is_version_of(artifact: wandb.Artifact, run: wandb.Run, name: str) -> bool:
    place = (artifact.type, artifact.entity, artifact.project, artifact.name.partition(":")[0])
    return place == ("model", run.entity, run.project, name) and artifact.state == "COMMITTED"


def _set_aliases(artifact: wandb.Artifact, aliases: list[str]) -> None:
    artifact.aliases = aliases
    artifact.save()


def _put_back(artifact: wandb.Artifact, aliases: list[str]) -> None:
    try:
        # Its list is W&B's own by now, with what others have given it meanwhile.
        _set_aliases(artifact, list(dict.fromkeys([*artifact.aliases, *aliases])))
    except Exception as error:
        raise UnreachableError(message_of(error)) from error


@dataclass(frozen=True, slots=True)
class EarlierVersions:
    """What the versions of an artifact tell about the callback that made them."""

    template: str
    monitor: str
    best: float | None


def earlier_versions(run: "wandb.Run", name: str) -> EarlierVersions | None:
    """Return what an artifact's versions tell about their callback, or `None` if there is no such artifact.

    It comes from the versions themselves, not from the run's summary, which a killed process may not have sent.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        api = api_for(run)
        path = f"{run.entity}/{run.project}/{name}"
        if not api.artifact_exists(f"{path}:latest"):
            return None
        newest = api.artifact(f"{path}:latest").metadata
    except Exception as error:  # as above
        raise UnreachableError(message_of(error)) from error
    monitor = str(newest.get("monitor", ""))
    return EarlierVersions(str(newest.get(TEMPLATE_KEY, "")), monitor, best_value(run, name, monitor))


def best_value(run: "wandb.Run", name: str, monitor: str) -> float | None:
    """Return the value of an artifact's `best` version.

    Returns:
        `None` when there is no such version, or its value is of another quantity.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        api, path = api_for(run), f"{run.entity}/{run.project}/{name}:best"
        metadata = api.artifact(path).metadata if api.artifact_exists(path) else {}
    except Exception as error:  # as above
        raise UnreachableError(message_of(error)) from error
    return finite_scalar(metadata.get("value")) if metadata.get("monitor") == monitor else None


def run_that_logged(artifact: wandb.Artifact) -> str | None:
    """Return `entity/project/id` of the run that logged a version, or `None` if that run was deleted."""
    try:
        run = artifact.logged_by()
    except (CommError, ValueError):  # the run was deleted
        return None
    return None if run is None else "/".join(run.path)
