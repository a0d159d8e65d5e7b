"""Artifacts: versions and those still being uploaded, with client ids, tags and lineage."""

# ruff: noqa: S608 (only names of columns and tables of our own are put into SQL)
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Artifact, Run, Tag, now, optional, record

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
    """What is known of a version before its files are uploaded."""

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
    """The artifact with that id, whatever its state."""
    return optional(Artifact, db.row("SELECT * FROM artifacts WHERE id = ?", artifact_id))


def create(db: Database, new: NewArtifact) -> Artifact:
    """A PENDING artifact."""
    columns = NewArtifact.__slots__
    with db.atomic():
        artifact_id = db.insert(
            f"INSERT INTO artifacts (state, created_at, updated_at, {', '.join(columns)}) "
            f"VALUES ('PENDING', ?, ?, {', '.join('?' * len(columns))})",
            now(),
            now(),
            *(getattr(new, column) for column in columns),
        )
        created = artifact(db, artifact_id)
    assert created is not None
    return created


def of_client_id(db: Database, user_id: int, client_id: str) -> Artifact | None:
    """The artifact that a client made under an id of its own."""
    row = db.row(
        "SELECT a.* FROM artifacts a JOIN client_ids c ON c.artifact_id = a.id "
        "WHERE c.user_id = ? AND c.client_id = ?",
        user_id,
        client_id,
    )
    return optional(Artifact, row)


def map_client_id(db: Database, user_id: int, client_id: str, artifact_id: int) -> None:
    """Remember which artifact a client's own id means."""
    with db.atomic():
        db.run(
            "INSERT INTO client_ids (client_id, user_id, artifact_id) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET artifact_id = excluded.artifact_id",
            client_id,
            user_id,
            artifact_id,
        )


def pending_distributed(db: Database, collection_id: int, distributed_id: str) -> Artifact | None:
    """The unfinished artifact that several processes write together."""
    row = db.row(
        "SELECT * FROM artifacts WHERE distributed_id = ? AND collection_id = ? AND state = 'PENDING'",
        distributed_id,
        collection_id,
    )
    return optional(Artifact, row)


def committed_with_digest(db: Database, collection_id: int, digest: str, algorithm: str) -> Artifact | None:
    """The newest version of a sequence with exactly this content."""
    row = db.row(
        "SELECT * FROM artifacts WHERE collection_id = ? AND digest = ? AND digest_algorithm = ? "
        "AND state = 'COMMITTED' ORDER BY id DESC LIMIT 1",
        collection_id,
        digest,
        algorithm,
    )
    return optional(Artifact, row)


def set_wanted_aliases(db: Database, artifact_id: int, wanted_aliases: str) -> None:
    """Replace the aliases that the artifact will get when it is committed (JSON)."""
    with db.atomic():
        db.run("UPDATE artifacts SET wanted_aliases = ? WHERE id = ?", wanted_aliases, artifact_id)


def mark_committed(
    db: Database, artifact_id: int, *, digest: str, size: int, file_count: int, manifest_blob: str
) -> None:
    """The artifact is complete."""
    with db.atomic():
        db.run(
            "UPDATE artifacts SET state = 'COMMITTED', digest = ?, size = ?, file_count = ?, manifest_blob = ?, "
            "updated_at = ? WHERE id = ?",
            digest,
            size,
            file_count,
            manifest_blob,
            now(),
            artifact_id,
        )
        # The manifest to hand out is another one; the uploaded ones have done their work.
        db.run("DELETE FROM claims WHERE artifact_id = ?", artifact_id)
        db.run("DELETE FROM manifests WHERE artifact_id = ?", artifact_id)


def mark_deleted(db: Database, artifact_id: int) -> None:
    """The artifact is gone, with its memberships, aliases and files; a sweep frees what only it held."""
    with db.atomic(durable=True):
        for table in (
            "memberships",
            "entries",
            "claims",
            "artifact_tags",
            "run_inputs",
            "run_outputs",
            "client_ids",
        ):
            db.run(f"DELETE FROM {table} WHERE artifact_id = ?", artifact_id)
        db.run("DELETE FROM manifests WHERE artifact_id = ?", artifact_id)
        db.run(
            "UPDATE artifacts SET state = 'DELETED', manifest_blob = NULL, updated_at = ? WHERE id = ?",
            now(),
            artifact_id,
        )


def update(
    db: Database, artifact_id: int, *, description: str | None, metadata: str | None, ttl_seconds: int | None
) -> None:
    """Change what is not None."""
    with db.atomic():
        db.run(
            "UPDATE artifacts SET description = coalesce(?, description), metadata = coalesce(?, metadata), "
            "ttl_seconds = coalesce(?, ttl_seconds), updated_at = ? WHERE id = ?",
            description,
            metadata,
            ttl_seconds,
            now(),
            artifact_id,
        )


def touch(db: Database, artifact_id: int) -> None:
    """Note that something about the artifact changed, or that its upload goes on."""
    with db.atomic():
        db.run("UPDATE artifacts SET updated_at = ? WHERE id = ?", now(), artifact_id)


def tags(db: Database, artifact_id: int) -> list[Tag]:
    """The tags of a version."""
    rows = db.rows("SELECT * FROM artifact_tags WHERE artifact_id = ? ORDER BY id", artifact_id)
    return [record(Tag, row) for row in rows]


def add_tags(db: Database, artifact_id: int, names: Iterable[str]) -> None:
    """Tag a version."""
    with db.atomic():
        db.run_many(
            "INSERT OR IGNORE INTO artifact_tags (artifact_id, name) VALUES (?, ?)",
            [(artifact_id, name) for name in names],
        )


def remove_tags(db: Database, artifact_id: int, names: Iterable[str]) -> None:
    """Take tags off a version."""
    with db.atomic():
        db.run_many(
            "DELETE FROM artifact_tags WHERE artifact_id = ? AND name = ?",
            [(artifact_id, name) for name in names],
        )


# Lineage


def add_output(db: Database, run_id: int, artifact_id: int) -> None:
    """The run logged the artifact."""
    with db.atomic():
        db.run("INSERT OR IGNORE INTO run_outputs (run_id, artifact_id) VALUES (?, ?)", run_id, artifact_id)


def add_input(db: Database, run_id: int, artifact_id: int) -> None:
    """The run used the artifact."""
    with db.atomic():
        db.run("INSERT OR IGNORE INTO run_inputs (run_id, artifact_id) VALUES (?, ?)", run_id, artifact_id)


_EDGES = "FROM {table} e JOIN artifacts a ON a.id = e.artifact_id WHERE e.run_id = ? AND a.state = 'COMMITTED'"


def outputs_of_run(db: Database, run_id: int, limit: int = -1, offset: int = 0) -> list[Artifact]:
    """The versions that a run logged."""
    return _artifacts_of_run(db, "run_outputs", run_id, limit, offset)


def inputs_of_run(db: Database, run_id: int, limit: int = -1, offset: int = 0) -> list[Artifact]:
    """The versions that a run used."""
    return _artifacts_of_run(db, "run_inputs", run_id, limit, offset)


def _artifacts_of_run(db: Database, table: str, run_id: int, limit: int, offset: int) -> list[Artifact]:
    edges = _EDGES.format(table=table)
    rows = db.rows(f"SELECT a.* {edges} ORDER BY a.id LIMIT ? OFFSET ?", run_id, limit, offset)
    return [record(Artifact, row) for row in rows]


def count_edges(db: Database, run_id: int, *, outputs: bool) -> int:
    """How many versions a run logged, or used."""
    edges = _EDGES.format(table="run_outputs" if outputs else "run_inputs")
    count: int = db.value(f"SELECT count(*) {edges}", run_id)
    return count


def used_by(db: Database, artifact_id: int) -> list[Run]:
    """The runs that used a version."""
    rows = db.rows(
        "SELECT r.* FROM runs r JOIN run_inputs i ON i.run_id = r.id WHERE i.artifact_id = ? ORDER BY r.id",
        artifact_id,
    )
    return [record(Run, row) for row in rows]
