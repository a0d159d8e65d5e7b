"""Deletes versions, and keeps the alias "latest" right."""

from __future__ import annotations

from wandb_ckpt.server.store import Database, artifacts, collections
from wandb_ckpt.server.store.records import Artifact

__all__ = ["delete_version"]


def delete_version(db: Database, artifact: Artifact) -> None:
    """Delete a version from all its collections. Where it was the latest, the highest remaining one becomes it."""
    with db.atomic(durable=True):
        places = collections.memberships_of_artifact(db, artifact.id)
        was_latest = {
            alias.collection_id
            for alias in collections.aliases_of_artifact(db, artifact.id)
            if alias.alias == "latest"
        }
        artifacts.mark_deleted(db, artifact.id)
        for place in places:
            collections.touch(db, place.collection_id)
            successor = collections.latest_membership(db, place.collection_id)
            if place.collection_id in was_latest and successor:
                collections.move_alias(db, successor, "latest")
