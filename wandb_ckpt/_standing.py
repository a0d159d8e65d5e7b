"""What W&B has of one artifact, and where its aliases belong when checkpoints come late."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import wandb

from wandb_ckpt import _artifact
from wandb_ckpt._artifact import Publication
from wandb_ckpt._checkpoint import finite_scalar
from wandb_ckpt._decision import BestTracker


class Standing:
    """The versions of one artifact, and the checkpoints that come late among them.

    `best` stays on a version that is better, and `latest` on what was saved last, however late another one comes.

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
            ValueError: W&B refuses it; also TypeError and PermissionError.
        """
        publication = self._as_of_now(publication)
        known = self.version_with(artifact.digest)
        if known is not None:
            self._add_aliases(known, publication.aliases)
            return known.version
        version = _artifact.settle(_artifact.log(publication.run, publication, artifact), publication)
        self._versions.append(self._api.artifact(f"{self._path}:{version}"))
        return version

    def put_latest_back(self) -> None:
        """Gives `latest` to what was saved last; W&B gives it to what was logged last."""
        if self._versions:
            newest = max(self._versions, key=lambda version: _moment(version.metadata))
            newest = self._api.artifact(f"{self._path}:{newest.version}")
            if "latest" not in newest.aliases:
                newest.aliases = [*newest.aliases, "latest"]
                newest.save()

    def _as_of_now(self, publication: Publication) -> Publication:
        """Returns the publication without `best`, where a version has meanwhile a better value."""
        checkpoint = publication.checkpoint
        if not checkpoint.is_best or BestTracker(self._best(checkpoint.monitor)).observe(
            checkpoint.value, checkpoint.mode
        ):
            return publication
        aliases = tuple(alias for alias in publication.aliases if alias != "best")
        return replace(publication, aliases=aliases, checkpoint=replace(checkpoint, is_best=False))

    def _best(self, monitor: str) -> float | None:
        if not self._api.artifact_exists(f"{self._path}:best"):
            return None
        metadata = self._api.artifact(f"{self._path}:best").metadata
        return finite_scalar(metadata.get("value")) if metadata.get("monitor") == monitor else None

    def _add_aliases(self, version: "wandb.Artifact", aliases: tuple[str, ...]) -> None:
        """Gives a version what no other one has, and `best`, which is asked for only where it belongs there."""
        held = {alias for each in self._versions for alias in each.aliases} - {"best"} | {"latest"}
        missing = [alias for alias in aliases if alias not in held]
        if missing:
            version.aliases = [*version.aliases, *missing]
            version.save()


def _moment(metadata: Mapping[str, Any]) -> tuple[str, float, float]:
    """Returns when a version was saved, to be compared; within a second its epoch and batch tell."""
    epoch, batch = finite_scalar(metadata.get("epoch")), finite_scalar(metadata.get("batch"))
    return str(metadata.get("saved_at", "")), -1 if epoch is None else epoch, float("inf") if batch is None else batch
