"""Plan which versions of a model on W&B to delete, and delete them one after the other."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wandb_ckpt.browsing.listing import Version, list_artifacts, version_of
from wandb_ckpt.checkpoint import Direction
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.naming import default_artifact_name
from wandb_ckpt.policy.retention import Candidate, Rule, deletable, reasons_to_keep
from wandb_ckpt.wandb_api.errors import UnreachableError
from wandb_ckpt.wandb_api.versions import candidate_of, remove

if TYPE_CHECKING:
    from wandb_ckpt.wandb_api.types import Artifact, PublicRun

_PAUSE = 0.1  # seconds between two deletions: W&B recommends one at a time, with a small delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The versions to keep and to delete by a rule.

    Attributes:
        path: The model.
        rule: The rule.
        run: The run whose versions can be deleted, as `entity/project/id`; `None` if it is not known any more.
        versions: All versions, newest first.
        kept: The reasons to keep versions, by their numbers. All other versions are deleted.
    """

    path: str
    rule: Rule
    run: str | None
    versions: tuple[Version, ...]
    kept: Mapping[int, str]

    @property
    def to_delete(self) -> tuple[Version, ...]:
        """The versions to delete, oldest first."""
        return tuple(version for version in reversed(self.versions) if version.number not in self.kept)


@dataclass(frozen=True, slots=True)
class Deletion:
    """The result for one version of a plan: it was deleted, or there is a reason why not."""

    version: Version
    reason: str = ""


def plan(path: str, newest: int, best: int = 0, mode: Direction | None = None) -> Plan:
    """Return which versions of a model to delete, to keep only the newest and the best ones. It deletes nothing.

    Args:
        path: `project/name` or `entity/project/name`.
        newest: How many of the newest versions to keep.
        best: How many of the best versions to keep, by the quantity that the newest version monitors.
        mode: Which values are better. Defaults to the mode in the newest version's metadata.

    Raises:
        ArgumentError: A number is negative, it is not known which values are better, or the collection has only
            links.
        CheckpointNotFoundError: There is no such model.
    """
    artifacts = list_artifacts(path)
    if any(artifact.is_link for artifact in artifacts):
        raise ArgumentError(
            f"{path} has only links to versions of other models: expected a model that a run logged. Pass that model."
        )
    newest_facts = version_of(artifacts[0]).checkpoint if artifacts else None
    monitor, known = (newest_facts.monitor, newest_facts.mode) if newest_facts else ("", None)
    return _applied(path, Rule(newest=newest, best=best, monitor=monitor, mode=mode or known), artifacts)


def delete_versions(agreed: Plan) -> Iterator[Deletion]:
    """Delete the versions of a plan. Before this, check again that there is still no reason to keep them.

    Yields:
        The result for each version, as soon as it is known.
    """
    artifacts = list_artifacts(agreed.path)
    now = _applied(agreed.path, agreed.rule, artifacts)
    there = {int(artifact.version[1:]): artifact for artifact in artifacts}
    for version in agreed.to_delete:
        if version.number not in there:
            yield Deletion(version, "somebody else has deleted it")
        elif version.number in now.kept:
            yield Deletion(version, f"there is a new reason to keep it: {now.kept[version.number]}")
        else:
            yield Deletion(version, _delete(there[version.number]))


def _delete(artifact: "Artifact") -> str:
    time.sleep(_PAUSE)
    try:
        remove(artifact)
    except UnreachableError as error:
        return str(error)
    return ""


def _applied(path: str, rule: Rule, artifacts: "Sequence[Artifact]") -> Plan:
    run = _owner(artifacts)
    own = frozenset(each.qualified_name for each in run.logged_artifacts()) if run else frozenset()
    candidates = {int(artifact.version[1:]): _candidate(artifact, own) for artifact in artifacts}
    by_number = dict(zip(candidates, artifacts, strict=True))
    for candidate in deletable(candidates.values(), rule):
        # This sends a request for each version, so only for those to delete.
        if by_number[candidate.number].linked_artifacts:
            candidates[candidate.number] = replace(candidate, is_linked=True)
    return Plan(
        path=path,
        rule=rule,
        run="/".join(run.path) if run else None,
        versions=tuple(map(version_of, artifacts)),
        kept=reasons_to_keep(candidates.values(), rule),
    )


def _candidate(artifact: "Artifact", own: frozenset[str]) -> Candidate:
    return replace(candidate_of(artifact), is_own=artifact.qualified_name in own)


def _owner(artifacts: "Sequence[Artifact]") -> "PublicRun | None":
    """Return the run that the model is named after, else the run that logged the newest version."""
    newest = None
    for artifact in artifacts:
        run = artifact.logged_by()
        if run is not None and _is_named_after(artifact.name.partition(":")[0], run.id):
            return run
        newest = newest or run
        if not artifact.name.startswith("run_"):
            break
    return newest


def _is_named_after(name: str, run_id: str) -> bool:
    base = default_artifact_name(run_id)
    return name == base or name.startswith(f"{base}-")
