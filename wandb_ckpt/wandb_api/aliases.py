"""The aliases of an artifact's versions when checkpoints are published late."""

from dataclasses import replace

import wandb

from wandb_ckpt.checkpoint import Moment, moment
from wandb_ckpt.wandb_api.artifacts import Publication, correct, log, settle
from wandb_ckpt.wandb_api.versions import best_value


class LatePublisher:
    """Publishes late checkpoints of one artifact.

    `best` stays on a better version, and `latest` and all other aliases stay on a version that was saved later.

    Args:
        api: An API for the server.
        path: `entity/project/name`.
    """

    def __init__(self, api: "wandb.Api", path: str) -> None:
        self._api, self._path = api, path
        found = api.artifacts("model", path) if api.artifact_collection_exists(path, "model") else ()
        self._versions = [version for version in found if version.state == "COMMITTED"]

    def version_with(self, digest: str) -> "wandb.Artifact | None":
        """Return the version with that digest."""
        return next((version for version in self._versions if version.digest == digest), None)

    def publish(self, publication: Publication, artifact: "wandb.Artifact") -> str:
        """Log an artifact unless W&B has it, and return the version, such as `v3`.

        Raises:
            RefusedError: W&B refuses it; also ValueError, TypeError and PermissionError.
        """
        publication = self._as_of_now(publication)
        known = self.version_with(artifact.digest)
        if known is not None:
            _add_aliases(known, tuple(alias for alias in publication.aliases if alias != "latest"))
            if publication.checkpoint.is_best or moment(known.metadata) != _moment_of(publication):
                correct(known, publication, is_changed=True)
            return known.version
        version = settle(log(publication, artifact))
        correct(artifact, publication, is_changed=True)
        self._versions.append(self._api.artifact(f"{self._path}:{version}"))
        return version

    def restore_latest(self) -> None:
        """Move `latest` to the version that was saved last. W&B gives it to the one that was logged last."""
        if self._versions:
            newest = max(self._versions, key=lambda version: moment(version.metadata))
            newest = self._api.artifact(f"{self._path}:{newest.version}")
            _add_aliases(newest, ("latest",))

    def _as_of_now(self, publication: Publication) -> Publication:
        """Return the publication without the aliases that belong to newer or better versions."""
        saved = _moment_of(publication)
        newer = (version.aliases for version in self._versions if moment(version.metadata) > saved)
        taken = {alias for aliases in newer for alias in aliases} - {"best"}
        best = best_value(publication.run, publication.name, publication.checkpoint.monitor)
        if best is not None or not any("best" in version.aliases for version in self._versions):
            publication = publication.beside([best])  # else the best one is of another monitor
        return replace(publication, aliases=tuple(alias for alias in publication.aliases if alias not in taken))


def _moment_of(publication: Publication) -> Moment:
    return moment(publication.checkpoint.to_metadata())


def _add_aliases(version: "wandb.Artifact", aliases: tuple[str, ...]) -> None:
    missing = [alias for alias in aliases if alias not in version.aliases]
    if missing:
        version.aliases = [*version.aliases, *missing]
        version.save()
