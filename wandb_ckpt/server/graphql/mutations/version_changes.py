"""Mutations: creating, editing and deleting versions, and the lineage of runs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from wandb_ckpt.server.errors import ConflictError, InvalidRequestError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.nodes.artifact_fields import ArtifactNode
from wandb_ckpt.server.names import check_alias, check_collection_name, check_tag, check_type_name
from wandb_ckpt.server.store import artifacts, collections, projects
from wandb_ckpt.server.store.records import Artifact, Collection, Project
from wandb_ckpt.server.versions import aliases as aliasing
from wandb_ckpt.server.versions import commit as committing
from wandb_ckpt.server.versions.removal import delete_version

__all__ = [
    "MUTATIONS",
    "Input",
    "get_or_create_collection",
    "tag_names",
]

Input = Mapping[str, Any]
_MOST_METADATA_KEYS = 100


def create_artifact(context: Context, data: Input) -> dict[str, Any]:
    """A new artifact to upload files to, or the version that already has the same content."""
    aliases = [check_alias(each["alias"]) for each in data.get("aliases") or []]
    tags = tag_names(data.get("tags"))
    _check_metadata(data.get("metadata"))
    _check_region(context, data.get("storage_region"))
    with context.db.atomic():
        project = context.project_on_demand(data.get("entity_name"), data.get("project_name"))
        sequence = get_or_create_collection(
            context, project, _collection_name(data), data["artifact_type_name"], "SEQUENCE"
        )
        found = _known(context, sequence, data, aliases) or _new(context, project, sequence, data, aliases)
        artifacts.add_tags(context.db, found.id, tags)
        _note_output(context, project, data.get("run_name"), found)
    context.forget()
    return {"artifact": ArtifactNode(context, found)}


def _collection_name(data: Input) -> str:
    names = data.get("artifact_collection_names") or []
    return check_collection_name(data.get("artifact_collection_name") or next(iter(names), ""))


def _check_metadata(metadata: str | None) -> None:
    value = json.loads(metadata) if metadata else {}
    if not isinstance(value, dict | None):
        raise InvalidRequestError("Invalid metadata: expected a JSON object.")
    if value and len(value) > _MOST_METADATA_KEYS:
        raise InvalidRequestError(f"Artifact metadata must not have more than {_MOST_METADATA_KEYS} keys.")


def _check_region(context: Context, region: str | None) -> None:
    if region and region not in context.services.regions:
        raise InvalidRequestError(f"Storage region {region!r} is not known here: leave it out.")


def get_or_create_collection(context: Context, project: Project, name: str, type_name: str, kind: str) -> Collection:
    """The collection of that name, kind and type, made on demand.

    Raises:
        ConflictError: There is one of another kind or type.
    """
    check_collection_name(name)
    artifact_type = projects.get_or_create_type(context.db, project.id, check_type_name(type_name))
    found = collections.named(context.db, project.id, name)
    if found is None:
        return collections.create(context.db, project.id, artifact_type.id, kind, name)
    if found.kind != kind:
        raise ConflictError(
            f"{name!r} is a {found.kind.lower()} already, a {kind.lower()} can't have its name. Choose another name."
        )
    if found.type_id != artifact_type.id:
        known = context.type_of(found.type_id).name
        raise ConflictError(
            f"Artifact {name} already exists with type {known!r}; cannot create another with type {type_name!r}."
        )
    return found


def _known(context: Context, sequence: Collection, data: Input, aliases: Sequence[str]) -> Artifact | None:
    """The artifact that this request is about already: sent twice, written by several, or the same content."""
    client_id, distributed_id = data.get("client_id"), data.get("distributed_id")
    if client_id:
        known = artifacts.of_client_id(context.db, context.user.id, client_id)
        if known and known.collection_id == sequence.id and known.state != "DELETED":
            return known
    if distributed_id:
        pending = artifacts.pending_distributed(context.db, sequence.id, distributed_id)
        return None if pending is None else _join(context, pending, client_id, aliases)
    if not data.get("enable_digest_deduplication"):
        return None
    algorithm = data.get("digest_algorithm") or "MANIFEST_MD5"
    same = artifacts.committed_with_digest(context.db, sequence.id, data["digest"], algorithm)
    return None if same is None else _reuse(context, same, client_id, aliases)


def _join(context: Context, pending: Artifact, client_id: str | None, aliases: Sequence[str]) -> Artifact:
    wanted = dict.fromkeys([*json.loads(pending.wanted_aliases), *aliases])
    artifacts.set_wanted_aliases(context.db, pending.id, json.dumps(list(wanted)))
    _map_client_id(context, client_id, pending)
    return pending


def _reuse(context: Context, same: Artifact, client_id: str | None, aliases: Sequence[str]) -> Artifact:
    _map_client_id(context, client_id, same)
    place = collections.membership_of(context.db, same.collection_id, same.id)
    assert place is not None
    aliasing.make_latest(context.db, place, aliases)
    return same


def _map_client_id(context: Context, client_id: str | None, artifact: Artifact) -> None:
    if client_id:
        artifacts.map_client_id(context.db, context.user.id, client_id, artifact.id)


def _new(context: Context, project: Project, sequence: Collection, data: Input, aliases: Sequence[str]) -> Artifact:
    aliasing.check_free(sequence, aliases)
    run_name = data.get("run_name")
    created = artifacts.create(
        context.db,
        artifacts.NewArtifact(
            collection_id=sequence.id,
            digest=data["digest"],
            digest_algorithm=data.get("digest_algorithm") or "MANIFEST_MD5",
            description=data.get("description"),
            metadata=data.get("metadata"),
            history_step=data.get("history_step"),
            ttl_seconds=data.get("ttl_duration_seconds"),
            run_id=context.run(None, project.name, run_name).id if run_name else None,
            user_id=context.user.id,
            distributed_id=data.get("distributed_id"),
            commit_hash=secrets.token_hex(20),
            wanted_aliases=json.dumps(aliases),
        ),
    )
    _map_client_id(context, data.get("client_id"), created)
    return created


def _note_output(context: Context, project: Project, run_name: str | None, artifact: Artifact) -> None:
    if run_name:
        artifacts.add_output(context.db, context.run(None, project.name, run_name).id, artifact.id)


def tag_names(tags: Sequence[Input] | None) -> list[str]:
    """The names in a list of tag inputs, checked."""
    return [check_tag(tag["tag_name"]) for tag in tags or []]


def commit_artifact(context: Context, data: Input) -> dict[str, Any]:
    """The uploaded artifact becomes a version."""
    committed = committing.commit(context, context.artifact(data["artifact_id"]))
    return {"artifact": ArtifactNode(context, committed)}


def update_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Edit a version; what is null stays."""
    artifact = context.artifact(data["artifact_id"])
    _check_metadata(data.get("metadata"))
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
    context.forget()
    return {"artifact": ArtifactNode(context, context.artifact(data["artifact_id"]))}


def _set_own_aliases(context: Context, artifact: Artifact, aliases: Sequence[Input] | None) -> None:
    """Clients before 0.22 send the whole list of a version's aliases with each edit."""
    place = collections.membership_of(context.db, artifact.collection_id, artifact.id)
    if aliases is None or place is None:
        return
    name = context.collection_of(artifact.collection_id).name
    wanted = [check_alias(each["alias"]) for each in aliases if each["artifact_collection_name"] == name]
    known = collections.aliases_of_artifact(context.db, artifact.id)
    for alias in known:
        if alias.membership_id == place.id and alias.alias not in wanted:
            collections.remove_alias(context.db, place, alias.alias)
    for name in wanted:
        aliasing.put(context.db, place, name)


def delete_artifact(context: Context, data: Input) -> dict[str, Any]:
    """Delete a version; one that has aliases only if told to."""
    artifact = context.artifact(data["artifact_id"])
    with context.db.atomic(durable=True):
        aliases = collections.aliases_of_artifact(context.db, artifact.id)
        if aliases and not data.get("delete_aliases"):
            names = ", ".join(alias.alias for alias in aliases)
            raise ConflictError(
                f"The version has aliases ({names}): delete it with delete_aliases=True, or move them."
            )
        delete_version(context.db, artifact)
    return {"artifact": ArtifactNode(context, artifact)}


def use_artifact(context: Context, data: Input) -> dict[str, Any]:
    """A run uses a version."""
    artifact = context.committed(data["artifact_id"])
    run = context.run(data["entity_name"], data["project_name"], data["run_name"])
    artifacts.add_input(context.db, run.id, artifact.id)
    return {"artifact": ArtifactNode(context, artifact)}


MUTATIONS = {
    "createArtifact": create_artifact,
    "commitArtifact": commit_artifact,
    "updateArtifact": update_artifact,
    "deleteArtifact": delete_artifact,
    "useArtifact": use_artifact,
}
