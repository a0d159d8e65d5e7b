"""Projects and the artifact types in them."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import ArtifactType, Project, now, optional, record

__all__ = [
    "artifact_type",
    "artifact_type_named",
    "artifact_types",
    "delete",
    "get_or_create",
    "get_or_create_type",
    "named",
    "of_user",
    "project",
    "rename",
    "update",
]


def project(db: Database, project_id: int) -> Project | None:
    """The project with that id."""
    return optional(Project, db.row("SELECT * FROM projects WHERE id = ?", project_id))


def named(db: Database, user_id: int, name: str) -> Project | None:
    """The project of an entity by name."""
    return optional(Project, db.row("SELECT * FROM projects WHERE user_id = ? AND name = ?", user_id, name))


def of_user(db: Database, user_id: int) -> list[Project]:
    """All projects of an entity, newest first."""
    return [
        record(Project, row) for row in db.rows("SELECT * FROM projects WHERE user_id = ? ORDER BY id DESC", user_id)
    ]


def get_or_create(db: Database, user_id: int, name: str) -> tuple[Project, bool]:
    """The project of that name, made on demand, and whether it was made just now."""
    if known := named(db, user_id, name):
        return known, False
    with db.atomic():
        created = db.run(
            "INSERT OR IGNORE INTO projects (user_id, name, access, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            user_id,
            name,
            "PRIVATE",
            now(),
            now(),
        )
        found = named(db, user_id, name)
    assert found is not None
    return found, created > 0


def update(
    db: Database, project_id: int, *, description: str | None, access: str | None, allow_all_types: bool | None
) -> None:
    """Change what is not None."""
    with db.atomic():
        db.run(
            "UPDATE projects SET description = coalesce(?, description), access = coalesce(?, access), "
            "allow_all_types = coalesce(?, allow_all_types), updated_at = ? WHERE id = ?",
            description,
            access,
            allow_all_types,
            now(),
            project_id,
        )


def rename(db: Database, project_id: int, name: str) -> None:
    """Give a project another name; the caller has seen that it is free."""
    with db.atomic():
        db.run("UPDATE projects SET name = ?, updated_at = ? WHERE id = ?", name, now(), project_id)


def delete(db: Database, project_id: int) -> bool:
    """Delete a project with its runs and its links to versions elsewhere. False if it has versions of its own."""
    with db.atomic(durable=True):
        if db.value("SELECT 1 FROM collections WHERE project_id = ? AND kind = 'SEQUENCE' LIMIT 1", project_id):
            return False
        db.run("DELETE FROM projects WHERE id = ?", project_id)
        return True


def artifact_type(db: Database, type_id: int) -> ArtifactType | None:
    """The artifact type with that id."""
    return optional(ArtifactType, db.row("SELECT * FROM artifact_types WHERE id = ?", type_id))


def artifact_type_named(db: Database, project_id: int, name: str) -> ArtifactType | None:
    """The artifact type of a project by name."""
    row = db.row("SELECT * FROM artifact_types WHERE project_id = ? AND name = ?", project_id, name)
    return optional(ArtifactType, row)


def artifact_types(db: Database, project_id: int) -> list[ArtifactType]:
    """The artifact types of a project, in order of name."""
    return [
        record(ArtifactType, row)
        for row in db.rows("SELECT * FROM artifact_types WHERE project_id = ? ORDER BY name", project_id)
    ]


def get_or_create_type(db: Database, project_id: int, name: str) -> ArtifactType:
    """The artifact type of that name, made on demand."""
    with db.atomic():
        db.run(
            "INSERT OR IGNORE INTO artifact_types (project_id, name, created_at) VALUES (?, ?, ?)",
            project_id,
            name,
            now(),
        )
        found = artifact_type_named(db, project_id, name)
    assert found is not None
    return found
