"""Runs: their state and facts, the lines of their streams (history, events, console), their files."""

# ruff: noqa: S608 (only names of columns and tables of our own are put into SQL)
from __future__ import annotations

from collections.abc import Iterable, Sequence

from wandb_ckpt.server.store.database import Database, Value
from wandb_ckpt.server.store.records import Run, RunFile, now, optional, record

__all__ = [
    "Line",
    "begin",
    "count_files",
    "count_in_project",
    "count_lines",
    "create",
    "delete",
    "delete_file",
    "file",
    "file_named",
    "files",
    "history_between",
    "in_project",
    "last_line",
    "lines",
    "named",
    "put_file",
    "request_stop",
    "run",
    "set_state",
    "update",
    "write_lines",
]

Line = tuple[int, int | None, str]
"""line number, step, content"""

_UPDATABLE = frozenset(
    [
        "display_name",
        "description",
        "notes",
        "config",
        "summary",
        "tags",
        "group_name",
        "job_type",
        "host",
        "program",
        "repo",
        "commit_hash",
        "sweep_name",
        "state",
    ]
)


def run(db: Database, run_id: int) -> Run | None:
    """The run with that id."""
    return optional(Run, db.row("SELECT * FROM runs WHERE id = ?", run_id))


def named(db: Database, project_id: int, name: str) -> Run | None:
    """The run of a project by its W&B id."""
    return optional(Run, db.row("SELECT * FROM runs WHERE project_id = ? AND name = ?", project_id, name))


def in_project(db: Database, project_id: int) -> list[Run]:
    """The runs of a project, oldest first."""
    return [record(Run, row) for row in db.rows("SELECT * FROM runs WHERE project_id = ? ORDER BY id", project_id)]


def count_in_project(db: Database, project_id: int) -> int:
    """How many runs a project has."""
    count: int = db.value("SELECT count(*) FROM runs WHERE project_id = ?", project_id)
    return count


def create(db: Database, project_id: int, name: str, display_name: str, state: str) -> Run:
    """A new run; the caller has seen that the name is free."""
    with db.atomic():
        run_id = db.insert(
            "INSERT INTO runs (project_id, name, display_name, state, created_at, heartbeat_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            project_id,
            name,
            display_name,
            state,
            now(),
            now(),
        )
        created = run(db, run_id)
    assert created is not None
    return created


def update(db: Database, run_id: int, changes: dict[str, Value]) -> None:
    """Change the given columns, and note that the run is alive."""
    assert changes.keys() <= _UPDATABLE
    assignments = "".join(f"{column} = ?, " for column in changes)
    with db.atomic():
        db.run(f"UPDATE runs SET {assignments}heartbeat_at = ? WHERE id = ?", *changes.values(), now(), run_id)


def begin(db: Database, run_id: int) -> None:
    """A process of a known run begins; what an earlier one was asked is not asked of it."""
    with db.atomic():
        db.run("UPDATE runs SET stop_requested = 0 WHERE id = ?", run_id)
        set_state(db, run_id, "running")


def set_state(db: Database, run_id: int, state: str, exit_code: int | None = None) -> None:
    """The run began, ended or was lost."""
    with db.atomic():
        db.run(
            "UPDATE runs SET state = ?, exit_code = ?, heartbeat_at = ? WHERE id = ?",
            state,
            exit_code,
            now(),
            run_id,
        )


def request_stop(db: Database, run_id: int) -> None:
    """Ask the process of a run to stop; it hears of it with its next heart-beat."""
    with db.atomic():
        db.run("UPDATE runs SET stop_requested = 1 WHERE id = ?", run_id)


def delete(db: Database, run_id: int) -> None:
    """Delete a run with its lines and files; versions that it logged stay."""
    with db.atomic(durable=True):
        db.run("DELETE FROM runs WHERE id = ?", run_id)


# Lines


def write_lines(db: Database, run_id: int, stream: str, new: Iterable[Line]) -> None:
    """Write lines at their numbers, over those that were there: a repeated request changes nothing."""
    with db.atomic():
        db.run_many(
            "INSERT INTO run_lines (run_id, stream, line, step, content) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET step = excluded.step, content = excluded.content",
            [(run_id, stream, *line) for line in new],
        )


def lines(db: Database, run_id: int, stream: str, *, limit: int = -1, offset: int = 0) -> list[tuple[int, str]]:
    """The lines of a stream as (number, content), from the `offset`-th on."""
    rows = db.rows(
        "SELECT line, content FROM run_lines WHERE run_id = ? AND stream = ? ORDER BY line LIMIT ? OFFSET ?",
        run_id,
        stream,
        limit,
        offset,
    )
    return [(row["line"], row["content"]) for row in rows]


def history_between(db: Database, run_id: int, low: int, high: int, limit: int) -> list[str]:
    """The history rows with low <= step < high, in order of their steps."""
    rows = db.rows(
        "SELECT content FROM run_lines WHERE run_id = ? AND stream = 'history' AND step >= ? AND step < ? "
        "ORDER BY step, line LIMIT ?",
        run_id,
        low,
        high,
        limit,
    )
    return [row["content"] for row in rows]


def count_lines(db: Database, run_id: int, stream: str) -> int:
    """How many lines a stream has."""
    count: int = db.value("SELECT count(*) FROM run_lines WHERE run_id = ? AND stream = ?", run_id, stream)
    return count


def last_line(db: Database, run_id: int, stream: str) -> str | None:
    """The last line of a stream."""
    content: str | None = db.value(
        "SELECT content FROM run_lines WHERE run_id = ? AND stream = ? ORDER BY line DESC LIMIT 1",
        run_id,
        stream,
    )
    return content


# Files


def put_file(db: Database, run_id: int, name: str, *, blob: str, size: int, md5: str, mimetype: str | None) -> None:
    """A file of the run was uploaded; one of that name is replaced."""
    with db.atomic():
        db.run(
            "INSERT INTO run_files (run_id, name, blob, size, md5, mimetype, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET blob = excluded.blob, size = excluded.size, md5 = excluded.md5, "
            "mimetype = excluded.mimetype, updated_at = excluded.updated_at",
            run_id,
            name,
            blob,
            size,
            md5,
            mimetype,
            now(),
        )


def file(db: Database, file_id: int) -> RunFile | None:
    """The file with that id."""
    return optional(RunFile, db.row("SELECT * FROM run_files WHERE id = ?", file_id))


def file_named(db: Database, run_id: int, name: str) -> RunFile | None:
    """The file of a run by name."""
    return optional(RunFile, db.row("SELECT * FROM run_files WHERE run_id = ? AND name = ?", run_id, name))


def files(db: Database, run_id: int, names: Sequence[str] | None = None) -> list[RunFile]:
    """The files of a run, oldest first; only the given ones, if any are."""
    found = [record(RunFile, row) for row in db.rows("SELECT * FROM run_files WHERE run_id = ? ORDER BY id", run_id)]
    return [each for each in found if each.name in set(names)] if names else found


def count_files(db: Database, run_id: int) -> int:
    """How many files a run has."""
    count: int = db.value("SELECT count(*) FROM run_files WHERE run_id = ?", run_id)
    return count


def delete_file(db: Database, file_id: int) -> None:
    """Delete a file of a run."""
    with db.atomic():
        db.run("DELETE FROM run_files WHERE id = ?", file_id)
