"""Projects and their artifact types."""

from __future__ import annotations

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import ArtifactType, Project, now

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
    """Return the project with an id."""
    return db.first(Project, "SELECT * FROM projects WHERE id = ?", project_id)


def named(db: Database, user_id: int, name: str) -> Project | None:
    """Return the project of an entity by name."""
    return db.first(Project, "SELECT * FROM projects WHERE user_id = ? AND name = ?", user_id, name)


def of_user(db: Database, user_id: int) -> list[Project]:
    """Return all projects of an entity, newest first."""
    return db.all(Project, "SELECT * FROM projects WHERE user_id = ? ORDER BY id DESC", user_id)


def get_or_create(db: Database, user_id: int, name: str) -> tuple[Project, bool]:
    """Return the project with a name, and whether this call created it."""
    with db.atomic():
        if known := named(db, user_id, name):
            return known, False
        sql = (
            "INSERT INTO projects (user_id, name, access, created_at, updated_at) VALUES (?, ?, ?, ?, ?) RETURNING *"
        )
        return db.insert(Project, sql, user_id, name, "PRIVATE", now(), now()), True


def update(
    db: Database, project_id: int, *, description: str | None, access: str | None, allow_all_types: bool | None
) -> None:
    """Change the values that are not None."""
    sql = (
        "UPDATE projects SET description = coalesce(?, description), access = coalesce(?, access), "
        "allow_all_types = coalesce(?, allow_all_types), updated_at = ? WHERE id = ?"
    )
    db.run(sql, description, access, allow_all_types, now(), project_id)


def rename(db: Database, project_id: int, name: str) -> None:
    """Rename a project. The new name must be free."""
    db.run("UPDATE projects SET name = ?, updated_at = ? WHERE id = ?", name, now(), project_id)


def delete(db: Database, project_id: int) -> bool:
    """Delete a project with its runs and its links to versions. Return False if it has versions of its own."""
    with db.atomic(durable=True):
        if db.value("SELECT 1 FROM collections WHERE project_id = ? AND kind = 'SEQUENCE' LIMIT 1", project_id):
            return False
        db.run("DELETE FROM projects WHERE id = ?", project_id)
        return True


def artifact_type(db: Database, type_id: int) -> ArtifactType | None:
    """Return the artifact type with an id."""
    return db.first(ArtifactType, "SELECT * FROM artifact_types WHERE id = ?", type_id)


def artifact_type_named(db: Database, project_id: int, name: str) -> ArtifactType | None:
    """Return the artifact type of a project by name."""
    return db.first(ArtifactType, "SELECT * FROM artifact_types WHERE project_id = ? AND name = ?", project_id, name)


def artifact_types(db: Database, project_id: int) -> list[ArtifactType]:
    """Return the artifact types of a project, ordered by name."""
    return db.all(ArtifactType, "SELECT * FROM artifact_types WHERE project_id = ? ORDER BY name", project_id)


def get_or_create_type(db: Database, project_id: int, name: str) -> ArtifactType:
    """Return the artifact type with a name. Create it if need be."""
    with db.atomic():
        if known := artifact_type_named(db, project_id, name):
            return known
        sql = "INSERT INTO artifact_types (project_id, name, created_at) VALUES (?, ?, ?) RETURNING *"
        return db.insert(ArtifactType, sql, project_id, name, now())
