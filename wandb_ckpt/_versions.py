"""Changes versions that a run logged: removes them, lets them expire, links them. With _artifact, it knows wandb."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import wandb

from wandb_ckpt._artifact import UnreachableError, api_of, words
from wandb_ckpt._checkpoint import finite_scalar, moment
from wandb_ckpt._collection import full_name
from wandb_ckpt._retention import Candidate


@dataclass(frozen=True, slots=True)
class OwnVersion:
    """A committed version that a run logged.

    Attributes:
        candidate: What the rule asks of it, but for whose it is and whether it is linked: see `is_free`.
        artifact: wandb's own object.
    """

    candidate: Candidate
    artifact: wandb.Artifact

    @property
    def ref(self) -> str:
        """`entity/project/name:v3`."""
        return full_name(self.artifact)


def logged(run: wandb.Run, name: str) -> list[OwnVersion]:
    """Returns the committed versions of an artifact that a run logged.

    A version that was another run's before this one logged the same content is among them.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        found = api_of(run).run(f"{run.entity}/{run.project}/{run.id}").logged_artifacts()
        return [
            OwnVersion(candidate_of(artifact), artifact) for artifact in found if _is_version_of(artifact, run, name)
        ]
    except Exception as error:
        # Whatever wandb raises (see _artifact), it must not end what is in the background. So it is below.
        raise UnreachableError(words(error)) from error


def candidate_of(artifact: wandb.Artifact) -> Candidate:
    """Returns what the rule asks of a version, but for whose it is and whether it is linked."""
    metadata = artifact.metadata
    return Candidate(
        number=int(artifact.version.removeprefix("v")),
        moment=moment(metadata),
        aliases=frozenset(artifact.aliases),
        monitor=str(metadata.get("monitor", "")),
        value=finite_scalar(metadata.get("value")),
    )


def is_free(artifact: wandb.Artifact, run: wandb.Run) -> bool:
    """Returns whether the run itself logged the version first, and nobody has linked it.

    Raises:
        UnreachableError: W&B can't be asked now.
    """
    try:
        first = artifact.logged_by()
        is_own = first is not None and first.path == [run.entity, run.project, run.id]
        return is_own and not artifact.linked_artifacts
    except Exception as error:
        raise UnreachableError(words(error)) from error


def remove(artifact: wandb.Artifact) -> None:
    """Deletes a version that has no other aliases than those that are known here; W&B refuses it if it has.

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
        raise UnreachableError(words(error)) from error


def set_ttl(artifact: wandb.Artifact, ttl: timedelta | None) -> None:
    """Lets W&B delete a version so long after it was logged; with `None`, as the team's default says.

    Raises:
        UnreachableError: W&B refuses, or can't be reached now.
    """
    try:
        artifact.ttl = wandb.ArtifactTTL.INHERIT if ttl is None else ttl
        artifact.save()
    except Exception as error:
        raise UnreachableError(words(error)) from error


def link(run: wandb.Run, ref: str, path: str, aliases: Iterable[str]) -> None:
    """Links a version (`name:v3`) of the run's project into the collection at `path`.

    Raises:
        UnreachableError: W&B refuses, or can't be reached now.
    """
    try:
        api_of(run).artifact(f"{run.entity}/{run.project}/{ref}").link(path, aliases=list(aliases))
    except Exception as error:
        raise UnreachableError(words(error)) from error


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
        raise UnreachableError(words(error)) from error
