"""Artifacts: versions and uploads that are not complete, with client ids, tags and lineage."""

# ruff: noqa: S608 (only names of our own columns and tables are put into SQL)
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Artifact, Run, Tag, now

__all__ = [
    "NewArtifact",
    "add_input",
    "add_output",
    "add_tags",
    "artifact",
    "committed_with_digest",
    "count_edges",
    "create",
    "inputs_of_run",
    "map_client_id",
    "mark_committed",
    "mark_deleted",
    "of_client_id",
    "outputs_of_run",
    "pending_distributed",
    "remove_tags",
    "set_wanted_aliases",
    "tags",
    "touch",
    "update",
    "used_by",
]


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """The values of an artifact before its files are uploaded."""

    collection_id: int
    digest: str
    digest_algorithm: str
    description: str | None
    metadata: str | None
    history_step: int | None
    ttl_seconds: int | None
    run_id: int | None
    user_id: int
    distributed_id: str | None
    commit_hash: str
    wanted_aliases: str


def artifact(db: Database, artifact_id: int) -> Artifact | None:
    """Return the artifact with an id, in any state."""
    return db.first(Artifact, "SELECT * FROM artifacts WHERE id = ?", artifact_id)


def create(db: Database, new: NewArtifact) -> Artifact:
    """Create a PENDING artifact."""
    columns = NewArtifact.__slots__
    sql = (
        f"INSERT INTO artifacts (state, created_at, updated_at, {', '.join(columns)}) "
        f"VALUES ('PENDING', ?, ?, {', '.join('?' * len(columns))}) RETURNING *"
    )
    return db.insert(Artifact, sql, now(), now(), *(getattr(new, column) for column in columns))


def of_client_id(db: Database, user_id: int, client_id: str) -> Artifact | None:
    """Return the artifact that a client created with an id of its own."""
    sql = (
        "SELECT a.* FROM artifacts a JOIN client_ids c ON c.artifact_id = a.id "
        "WHERE c.user_id = ? AND c.client_id = ?"
    )
    return db.first(Artifact, sql, user_id, client_id)


def map_client_id(db: Database, user_id: int, client_id: str, artifact_id: int) -> None:
    """Remember the artifact of a client's own id."""
    sql = (
        "INSERT INTO client_ids (client_id, user_id, artifact_id) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET artifact_id = excluded.artifact_id"
    )
    db.run(sql, client_id, user_id, artifact_id)


def pending_distributed(db: Database, collection_id: int, distributed_id: str) -> Artifact | None:
    """Return the unfinished artifact that several processes write together."""
    sql = "SELECT * FROM artifacts WHERE distributed_id = ? AND collection_id = ? AND state = 'PENDING'"
    return db.first(Artifact, sql, distributed_id, collection_id)


def committed_with_digest(db: Database, collection_id: int, digest: str, algorithm: str) -> Artifact | None:
    """Return the newest version of a sequence with this content."""
    sql = (
        "SELECT * FROM artifacts WHERE collection_id = ? AND digest = ? AND digest_algorithm = ? "
        "AND state = 'COMMITTED' ORDER BY id DESC LIMIT 1"
    )
    return db.first(Artifact, sql, collection_id, digest, algorithm)


def set_wanted_aliases(db: Database, artifact_id: int, wanted_aliases: str) -> None:
    """Replace the aliases that the artifact gets when it is committed (JSON)."""
    db.run("UPDATE artifacts SET wanted_aliases = ? WHERE id = ?", wanted_aliases, artifact_id)


def mark_committed(
    db: Database, artifact_id: int, *, digest: str, size: int, file_count: int, manifest_blob: str
) -> None:
    """Mark an artifact as committed, and forget the manifests that were uploaded for it."""
    sql = (
        "UPDATE artifacts SET state = 'COMMITTED', digest = ?, size = ?, file_count = ?, manifest_blob = ?, "
        "updated_at = ? WHERE id = ?"
    )
    with db.atomic():
        db.run(sql, digest, size, file_count, manifest_blob, now(), artifact_id)
        db.run("DELETE FROM claims WHERE artifact_id = ?", artifact_id)
        db.run("DELETE FROM manifests WHERE artifact_id = ?", artifact_id)


_OF_ARTIFACT = (
    "memberships", "entries", "claims", "artifact_tags", "run_inputs", "run_outputs", "client_ids", "manifests",
)  # fmt: skip


def mark_deleted(db: Database, artifact_id: int) -> None:
    """Delete an artifact with its memberships, aliases and files. A sweep frees the bytes that only it had."""
    with db.atomic(durable=True):
        for table in _OF_ARTIFACT:
            db.run(f"DELETE FROM {table} WHERE artifact_id = ?", artifact_id)
        sql = "UPDATE artifacts SET state = 'DELETED', manifest_blob = NULL, updated_at = ? WHERE id = ?"
        db.run(sql, now(), artifact_id)


def update(
    db: Database, artifact_id: int, *, description: str | None, metadata: str | None, ttl_seconds: int | None
) -> None:
    """Change the values that are not None."""
    sql = (
        "UPDATE artifacts SET description = coalesce(?, description), metadata = coalesce(?, metadata), "
        "ttl_seconds = coalesce(?, ttl_seconds), updated_at = ? WHERE id = ?"
    )
    db.run(sql, description, metadata, ttl_seconds, now(), artifact_id)


def touch(db: Database, artifact_id: int) -> None:
    """Set the time of the last change to now. It also shows that an upload goes on."""
    db.run("UPDATE artifacts SET updated_at = ? WHERE id = ?", now(), artifact_id)


def tags(db: Database, artifact_id: int) -> list[Tag]:
    """Return the tags of a version."""
    return db.all(Tag, "SELECT * FROM artifact_tags WHERE artifact_id = ? ORDER BY id", artifact_id)


def add_tags(db: Database, artifact_id: int, names: Iterable[str]) -> None:
    """Add tags to a version."""
    sql = "INSERT OR IGNORE INTO artifact_tags (artifact_id, name) VALUES (?, ?)"
    db.run_many(sql, [(artifact_id, name) for name in names])


def remove_tags(db: Database, artifact_id: int, names: Iterable[str]) -> None:
    """Remove tags from a version."""
    sql = "DELETE FROM artifact_tags WHERE artifact_id = ? AND name = ?"
    db.run_many(sql, [(artifact_id, name) for name in names])


# Lineage


def add_output(db: Database, run_id: int, artifact_id: int) -> None:
    """Note that a run logged an artifact."""
    db.run("INSERT OR IGNORE INTO run_outputs (run_id, artifact_id) VALUES (?, ?)", run_id, artifact_id)


def add_input(db: Database, run_id: int, artifact_id: int) -> None:
    """Note that a run used an artifact."""
    db.run("INSERT OR IGNORE INTO run_inputs (run_id, artifact_id) VALUES (?, ?)", run_id, artifact_id)


_EDGES = "FROM {table} e JOIN artifacts a ON a.id = e.artifact_id WHERE e.run_id = ? AND a.state = 'COMMITTED'"


def outputs_of_run(db: Database, run_id: int, limit: int = -1, offset: int = 0) -> list[Artifact]:
    """Return the versions that a run logged."""
    return _artifacts_of_run(db, "run_outputs", run_id, limit, offset)


def inputs_of_run(db: Database, run_id: int, limit: int = -1, offset: int = 0) -> list[Artifact]:
    """Return the versions that a run used."""
    return _artifacts_of_run(db, "run_inputs", run_id, limit, offset)


def _artifacts_of_run(db: Database, table: str, run_id: int, limit: int, offset: int) -> list[Artifact]:
    sql = f"SELECT a.* {_EDGES.format(table=table)} ORDER BY a.id LIMIT ? OFFSET ?"
    return db.all(Artifact, sql, run_id, limit, offset)


def count_edges(db: Database, run_id: int, *, outputs: bool) -> int:
    """Return how many versions a run logged, or used."""
    edges = _EDGES.format(table="run_outputs" if outputs else "run_inputs")
    count: int = db.value(f"SELECT count(*) {edges}", run_id)
    return count


def used_by(db: Database, artifact_id: int) -> list[Run]:
    """Return the runs that used a version."""
    sql = "SELECT r.* FROM runs r JOIN run_inputs i ON i.run_id = r.id WHERE i.artifact_id = ? ORDER BY r.id"
    return db.all(Run, sql, artifact_id)
