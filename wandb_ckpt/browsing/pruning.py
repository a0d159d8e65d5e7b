"""Deletes what may go of a model on W&B: asks W&B what the rule needs to know, then deletes one after the other."""

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


_PAUSE = 0.1  # seconds between two deletions: W&B asks for one at a time, with a small delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a rule means for the versions that there are now.

    Attributes:
        path: The model.
        rule: The rule.
        run: The run whose versions may go, `entity/project/id`; `None` when it is not known any more.
        versions: All versions, newest first.
        kept: Why a version stays, by its number; those that are not in it go.
    """

    path: str
    rule: Rule
    run: str | None
    versions: tuple[Version, ...]
    kept: Mapping[int, str]

    @property
    def gone(self) -> tuple[Version, ...]:
        """The versions that would go, oldest first."""
        return tuple(version for version in reversed(self.versions) if version.number not in self.kept)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of one version of a plan: deleted, unless there is a reason against it."""

    version: Version
    reason: str = ""


def plan(path: str, newest: int, best: int = 0, mode: Direction | None = None) -> Plan:
    """Return what would go of a model if only so many newest and best versions were kept. Deletes nothing.

    Args:
        path: `project/name` or `entity/project/name`.
        newest: How many of the newest stay.
        best: How many of the best stay, by what the newest version monitors.
        mode: Which values are better; defaults to what the newest version's metadata says.

    Raises:
        ArgumentError: The numbers mean nothing, it is not known which values are better, or the collection has links.
        CheckpointNotFoundError: There is no such model.
    """
    artifacts = list_artifacts(path)
    if any(artifact.is_link for artifact in artifacts):
        raise ArgumentError(f"{path} has links, no versions of its own: expected a model that a run logged.")
    newest_facts = version_of(artifacts[0]).checkpoint if artifacts else None
    monitor, known = (newest_facts.monitor, newest_facts.mode) if newest_facts else ("", None)
    return _applied(path, Rule(newest=newest, best=best, monitor=monitor, mode=mode or known), artifacts)


def carry_out(agreed: Plan) -> Iterator[Deletion]:
    """Delete what a plan says, unless it may not go any more: that is looked up again first.

    Yields:
        What became of each version, as it happens.
    """
    artifacts = list_artifacts(agreed.path)
    now = _applied(agreed.path, agreed.rule, artifacts)
    there = {int(artifact.version[1:]): artifact for artifact in artifacts}
    for version in agreed.gone:
        if version.number not in there:
            yield Deletion(version, "it was gone already")
        elif version.number in now.kept:
            yield Deletion(version, f"it is kept meanwhile: {now.kept[version.number]}")
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
        # A question to W&B for each: only of those that would go.
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
    """Return the run whose callback made the model: the one that the name is of, else who logged the newest."""
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
