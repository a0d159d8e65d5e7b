"""Runs, the lines that they stream (history, events, console) and their files."""

# ruff: noqa: S608 (only names of our own columns are put into SQL)
from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from wandb_ckpt.server.store.database import Database, Value
from wandb_ckpt.server.store.records import Run, RunFile, now

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
    "last_lines",
    "lines",
    "named",
    "put_file",
    "request_stop",
    "run",
    "set_state",
    "shown_state",
    "update",
    "write_lines",
]

Line = tuple[int, int | None, str]
"""line number, step, content"""

_UPDATABLE = frozenset((
    "display_name", "description", "notes", "config", "summary", "tags", "group_name", "job_type", "host", "program",
    "repo", "commit_hash", "sweep_name", "state",
))  # fmt: skip
# The client sends a heartbeat every 30 seconds. W&B gives up on a run after five minutes.
_SILENT_SECONDS = 300


def run(db: Database, run_id: int) -> Run | None:
    """Return the run with an id."""
    return db.first(Run, "SELECT * FROM runs WHERE id = ?", run_id)


def named(db: Database, project_id: int, name: str) -> Run | None:
    """Return the run of a project by its W&B run id."""
    return db.first(Run, "SELECT * FROM runs WHERE project_id = ? AND name = ?", project_id, name)


def in_project(db: Database, project_id: int) -> list[Run]:
    """Return the runs of a project, oldest first."""
    return db.all(Run, "SELECT * FROM runs WHERE project_id = ? ORDER BY id", project_id)


def count_in_project(db: Database, project_id: int) -> int:
    """Return how many runs a project has."""
    count: int = db.value("SELECT count(*) FROM runs WHERE project_id = ?", project_id)
    return count


def create(db: Database, project_id: int, name: str, display_name: str, state: str) -> Run:
    """Create a run. Its name must be free."""
    sql = (
        "INSERT INTO runs (project_id, name, display_name, state, created_at, heartbeat_at) "
        "VALUES (?, ?, ?, ?, ?, ?) RETURNING *"
    )
    return db.insert(Run, sql, project_id, name, display_name, state, now(), now())


def update(db: Database, run_id: int, changes: dict[str, Value]) -> None:
    """Change the given columns and note a heartbeat."""
    assert changes.keys() <= _UPDATABLE
    assignments = "".join(f"{column} = ?, " for column in changes)
    db.run(f"UPDATE runs SET {assignments}heartbeat_at = ? WHERE id = ?", *changes.values(), now(), run_id)


def begin(db: Database, run_id: int) -> None:
    """Note that a process continues a run. A stop that was requested from an earlier process does not count."""
    with db.atomic():
        db.run("UPDATE runs SET stop_requested = 0 WHERE id = ?", run_id)
        set_state(db, run_id, "running")


def set_state(db: Database, run_id: int, state: str, exit_code: int | None = None) -> None:
    """Set the state of a run and note a heartbeat."""
    sql = "UPDATE runs SET state = ?, exit_code = ?, heartbeat_at = ? WHERE id = ?"
    db.run(sql, state, exit_code, now(), run_id)


def shown_state(state: str, heartbeat_at: str) -> str:
    """Return the state to show: a running run without a heartbeat for five minutes has "crashed"."""
    if state != "running":
        return state
    silence = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(heartbeat_at)
    return "crashed" if silence.total_seconds() > _SILENT_SECONDS else state


def request_stop(db: Database, run_id: int) -> None:
    """Request that the process of a run stops. It is told with its next heartbeat."""
    db.run("UPDATE runs SET stop_requested = 1 WHERE id = ?", run_id)


def delete(db: Database, run_id: int) -> None:
    """Delete a run with its lines and files. The versions that it logged stay."""
    with db.atomic(durable=True):
        db.run("DELETE FROM runs WHERE id = ?", run_id)


# Lines


def write_lines(db: Database, run_id: int, stream: str, new: Iterable[Line]) -> None:
    """Write lines at their numbers and replace those that are there. Repeating a request changes nothing."""
    sql = (
        "INSERT INTO run_lines (run_id, stream, line, step, content) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET step = excluded.step, content = excluded.content"
    )
    db.run_many(sql, [(run_id, stream, *line) for line in new])


def lines(db: Database, run_id: int, stream: str, *, limit: int = -1, offset: int = 0) -> list[tuple[int, str]]:
    """Return lines of a stream as (number, content)."""
    sql = "SELECT line, content FROM run_lines WHERE run_id = ? AND stream = ? ORDER BY line LIMIT ? OFFSET ?"
    return [(row["line"], row["content"]) for row in db.rows(sql, run_id, stream, limit, offset)]


def last_lines(db: Database, run_id: int, stream: str, count: int) -> list[str]:
    """Return the last lines of a stream, oldest first."""
    sql = "SELECT content FROM run_lines WHERE run_id = ? AND stream = ? ORDER BY line DESC LIMIT ?"
    return [row["content"] for row in reversed(db.rows(sql, run_id, stream, count))]


def last_line(db: Database, run_id: int, stream: str) -> str | None:
    """Return the last line of a stream."""
    return next(iter(last_lines(db, run_id, stream, 1)), None)


def history_between(db: Database, run_id: int, low: int, high: int, limit: int) -> list[str]:
    """Return the history rows with low <= step < high, ordered by step."""
    sql = (
        "SELECT content FROM run_lines WHERE run_id = ? AND stream = 'history' AND step >= ? AND step < ? "
        "ORDER BY step, line LIMIT ?"
    )
    return [row["content"] for row in db.rows(sql, run_id, low, high, limit)]


def count_lines(db: Database, run_id: int, stream: str) -> int:
    """Return how many lines a stream has."""
    count: int = db.value("SELECT count(*) FROM run_lines WHERE run_id = ? AND stream = ?", run_id, stream)
    return count


# Files


def put_file(db: Database, run_id: int, name: str, *, blob: str, size: int, md5: str, mimetype: str | None) -> None:
    """Note that a file of a run was uploaded. It replaces a file with the same name."""
    sql = (
        "INSERT INTO run_files (run_id, name, blob, size, md5, mimetype, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET blob = excluded.blob, size = excluded.size, md5 = excluded.md5, "
        "mimetype = excluded.mimetype, updated_at = excluded.updated_at"
    )
    db.run(sql, run_id, name, blob, size, md5, mimetype, now())


def file(db: Database, file_id: int) -> RunFile | None:
    """Return the file with an id."""
    return db.first(RunFile, "SELECT * FROM run_files WHERE id = ?", file_id)


def file_named(db: Database, run_id: int, name: str) -> RunFile | None:
    """Return a file of a run by name."""
    return db.first(RunFile, "SELECT * FROM run_files WHERE run_id = ? AND name = ?", run_id, name)


def files(db: Database, run_id: int, names: Sequence[str] | None = None) -> list[RunFile]:
    """Return the files of a run, oldest first. Only the given names, if there are any."""
    found = db.all(RunFile, "SELECT * FROM run_files WHERE run_id = ? ORDER BY id", run_id)
    return [each for each in found if each.name in set(names)] if names else found


def count_files(db: Database, run_id: int) -> int:
    """Return how many files a run has."""
    count: int = db.value("SELECT count(*) FROM run_files WHERE run_id = ?", run_id)
    return count


def delete_file(db: Database, file_id: int) -> None:
    """Delete a file of a run."""
    db.run("DELETE FROM run_files WHERE id = ?", file_id)
