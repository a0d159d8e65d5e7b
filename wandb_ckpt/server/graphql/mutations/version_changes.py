"""Mutations of versions: create, commit, edit and delete them, and note which run used them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from wandb_ckpt.server.errors import ConflictError, InvalidRequestError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.inputs import Input, alias_names, tag_names
from wandb_ckpt.server.names import check_collection_name
from wandb_ckpt.server.store import artifacts, collections
from wandb_ckpt.server.store.records import Artifact, Collection, Run
from wandb_ckpt.server.versions import aliases
from wandb_ckpt.server.versions.commit import commit
from wandb_ckpt.server.versions.removal import delete_version

__all__ = ["commit_artifact", "create_artifact", "delete_artifact", "update_artifact", "use_artifact"]

_MOST_METADATA_KEYS = 100


def create_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Create an artifact to upload files to, or return the version that has the same content already."""
    wanted, tags = alias_names(data.get("aliases")), tag_names(data.get("tags"))
    _check_metadata(data)
    _check_region(context, data.get("storage_region"))
    with context.db.atomic():
        project = context.view.project_on_demand(data.get("entity_name"), data.get("project_name"))
        sequence = context.view.collection_on_demand(
            project, _collection_name(data), data["artifact_type_name"], "SEQUENCE"
        )
        run = context.view.run(None, project.name, data["run_name"]) if data.get("run_name") else None
        found = _known(context, sequence, data, wanted) or _new(context, sequence, run, data, wanted)
        artifacts.add_tags(context.db, found.id, tags)
        if run:
            artifacts.add_output(context.db, run.id, found.id)
    return {"artifact": found}


def _collection_name(data: Input) -> str:
    names = data.get("artifact_collection_names") or []
    return check_collection_name(data.get("artifact_collection_name") or next(iter(names), ""))


def _check_metadata(data: Input) -> None:
    metadata = json.loads(data.get("metadata") or "null")
    if not isinstance(metadata, dict | None):
        raise InvalidRequestError("Invalid metadata: expected a JSON object.")
    if metadata and len(metadata) > _MOST_METADATA_KEYS:
        raise InvalidRequestError(f"Artifact metadata must not have more than {_MOST_METADATA_KEYS} keys.")


def _check_region(context: Context, region: str | None) -> None:
    if region and region not in context.services.regions:
        raise InvalidRequestError(f"Storage region {region!r} is not known to this server. Leave it out.")


def _known(context: Context, sequence: Collection, data: Input, wanted: Sequence[str]) -> Artifact | None:
    # A request that is sent twice, an artifact that several processes write, or the same content.
    client_id, distributed_id = data.get("client_id"), data.get("distributed_id")
    if client_id:
        known = artifacts.of_client_id(context.db, context.user.id, client_id)
        if known and known.collection_id == sequence.id and known.state != "DELETED":
            return known
    if distributed_id:
        pending = artifacts.pending_distributed(context.db, sequence.id, distributed_id)
        return None if pending is None else _join(context, pending, client_id, wanted)
    if not data.get("enable_digest_deduplication"):
        return None
    same = artifacts.committed_with_digest(context.db, sequence.id, data["digest"], _algorithm(data))
    return None if same is None else _reuse(context, same, client_id, wanted)


def _algorithm(data: Input) -> str:
    return data.get("digest_algorithm") or "MANIFEST_MD5"


def _join(context: Context, pending: Artifact, client_id: str | None, wanted: Sequence[str]) -> Artifact:
    all_wanted = dict.fromkeys([*json.loads(pending.wanted_aliases), *wanted])
    artifacts.set_wanted_aliases(context.db, pending.id, json.dumps(list(all_wanted)))
    _map_client_id(context, client_id, pending)
    return pending


def _reuse(context: Context, same: Artifact, client_id: str | None, wanted: Sequence[str]) -> Artifact:
    _map_client_id(context, client_id, same)
    place = collections.membership_of(context.db, same.collection_id, same.id)
    assert place is not None
    aliases.make_latest(context.db, place, wanted)
    return same


def _map_client_id(context: Context, client_id: str | None, artifact: Artifact) -> None:
    if client_id:
        artifacts.map_client_id(context.db, context.user.id, client_id, artifact.id)


def _new(context: Context, sequence: Collection, run: Run | None, data: Input, wanted: Sequence[str]) -> Artifact:
    aliases.check_free(sequence, wanted)
    created = artifacts.create(
        context.db,
        artifacts.NewArtifact(
            collection_id=sequence.id,
            digest=data["digest"],
            digest_algorithm=_algorithm(data),
            description=data.get("description"),
            metadata=data.get("metadata"),
            history_step=data.get("history_step"),
            ttl_seconds=data.get("ttl_duration_seconds"),
            run_id=run.id if run else None,
            user_id=context.user.id,
            distributed_id=data.get("distributed_id"),
            commit_hash=secrets.token_hex(20),
            wanted_aliases=json.dumps(wanted),
        ),
    )
    _map_client_id(context, data.get("client_id"), created)
    return created


def commit_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Make an uploaded artifact a version."""
    artifact = context.view.artifact(data["artifact_id"])
    return {"artifact": commit(context.db, context.blobs, artifact)}


def update_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Edit a version. Values that are null stay as they are."""
    artifact = context.view.artifact(data["artifact_id"])
    _check_metadata(data)
    added, removed = tag_names(data.get("tags_to_add")), tag_names(data.get("tags_to_delete"))
    with context.db.atomic():
        artifacts.update(
            context.db,
            artifact.id,
            description=data.get("description"),
            metadata=data.get("metadata"),
            ttl_seconds=data.get("ttl_duration_seconds"),
        )
        artifacts.remove_tags(context.db, artifact.id, removed)
        artifacts.add_tags(context.db, artifact.id, added)
        _set_own_aliases(context, artifact, data.get("aliases"))
    return {"artifact": context.view.artifact(data["artifact_id"])}


def _set_own_aliases(context: Context, artifact: Artifact, inputs: Sequence[Input] | None) -> None:
    # Clients before 0.22 send the whole list of a version's aliases with each edit.
    place = collections.membership_of(context.db, artifact.collection_id, artifact.id)
    if inputs is None or place is None:
        return
    name = context.view.collection_of(artifact.collection_id).name
    wanted = alias_names([each for each in inputs if each["artifact_collection_name"] == name])
    for known in collections.aliases_of_artifact(context.db, artifact.id):
        if known.membership_id == place.id and known.alias not in wanted:
            collections.remove_alias(context.db, place, known.alias)
    for alias in wanted:
        aliases.put(context.db, place, alias)


def delete_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Delete a version. A version with aliases is deleted only if the request says so."""
    artifact = context.view.artifact(data["artifact_id"])
    with context.db.atomic(durable=True):
        found = collections.aliases_of_artifact(context.db, artifact.id)
        if found and not data.get("delete_aliases"):
            names = ", ".join(alias.alias for alias in found)
            raise ConflictError(
                f"The version has aliases ({names}). Delete it with delete_aliases=True, or move them."
            )
        delete_version(context.db, artifact)
    return {"artifact": artifact}


def use_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Note that a run uses a version."""
    artifact = context.view.committed(data["artifact_id"])
    run = context.view.run(data["entity_name"], data["project_name"], data["run_name"])
    artifacts.add_input(context.db, run.id, artifact.id)
    return {"artifact": artifact}
