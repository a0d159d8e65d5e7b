"""What W&B has of one artifact, and where its aliases belong when checkpoints come late."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import wandb

from wandb_ckpt import _artifact
from wandb_ckpt._artifact import Publication
from wandb_ckpt._checkpoint import Checkpoint, finite_scalar
from wandb_ckpt._decision import BestTracker


class Standing:
    """The versions of one artifact, and the checkpoints that come late among them.

    However late a checkpoint comes, `best` stays on a version that is better, and `latest` and all other aliases on
    one that was saved later.

    Args:
        api: An API for the server.
        path: `entity/project/name`.
    """

    def __init__(self, api: "wandb.Api", path: str) -> None:
        self._api, self._path = api, path
        found = api.artifacts("model", path) if api.artifact_collection_exists(path, "model") else ()
        self._versions = [version for version in found if version.state == "COMMITTED"]

    def version_with(self, digest: str) -> "wandb.Artifact | None":
        """Returns the version whose bytes have that digest."""
        return next((version for version in self._versions if version.digest == digest), None)

    def publish(self, publication: Publication, artifact: "wandb.Artifact") -> str:
        """Logs an artifact unless W&B has it, and returns the version, such as `v3`.

        Raises:
            RefusedError: W&B refuses it; also ValueError, TypeError and PermissionError.
        """
        publication = self._as_of_now(publication)
        known = self.version_with(artifact.digest)
        if known is not None:
            _add_aliases(known, tuple(alias for alias in publication.aliases if alias != "latest"))
            _artifact.correct_best(known, publication)
            return known.version
        version = _artifact.settle(_artifact.log(publication.run, publication, artifact), publication)
        self._versions.append(self._api.artifact(f"{self._path}:{version}"))
        return version

    def put_latest_back(self) -> None:
        """Gives `latest` to what was saved last; W&B gives it to what was logged last."""
        if self._versions:
            newest = max(self._versions, key=lambda version: moment(version.metadata))
            newest = self._api.artifact(f"{self._path}:{newest.version}")
            _add_aliases(newest, ("latest",))

    def _as_of_now(self, publication: Publication) -> Publication:
        """Returns the publication without the aliases that belong to versions which are newer, or better."""
        checkpoint = publication.checkpoint
        saved = moment(checkpoint.to_metadata())
        newer = (version.aliases for version in self._versions if moment(version.metadata) > saved)
        taken = {alias for aliases in newer for alias in aliases} - {"best"}
        if checkpoint.is_best and not self._is_best_now(checkpoint):
            taken.add("best")
            checkpoint = replace(checkpoint, is_best=False)
        aliases = tuple(alias for alias in publication.aliases if alias not in taken)
        return replace(publication, aliases=aliases, checkpoint=checkpoint)

    def _is_best_now(self, checkpoint: Checkpoint) -> bool:
        return BestTracker(self._best(checkpoint.monitor)).observe(checkpoint.value, checkpoint.mode)

    def _best(self, monitor: str) -> float | None:
        if not self._api.artifact_exists(f"{self._path}:best"):
            return None
        metadata = self._api.artifact(f"{self._path}:best").metadata
        return finite_scalar(metadata.get("value")) if metadata.get("monitor") == monitor else None


def _add_aliases(version: "wandb.Artifact", aliases: tuple[str, ...]) -> None:
    missing = [alias for alias in aliases if alias not in version.aliases]
    if missing:
        version.aliases = [*version.aliases, *missing]
        version.save()


def moment(metadata: Mapping[str, Any]) -> tuple[str, float, float]:
    """Returns when a version was saved, to be compared; within a second its epoch and batch tell."""
    epoch, batch = finite_scalar(metadata.get("epoch")), finite_scalar(metadata.get("batch"))
    return str(metadata.get("saved_at", "")), -1 if epoch is None else epoch, float("inf") if batch is None else batch
