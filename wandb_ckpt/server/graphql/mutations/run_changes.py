"""Mutations of runs and their files."""

from __future__ import annotations

import json
import secrets
from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import InvalidRequestError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.inputs import Input
from wandb_ckpt.server.http.addresses import run_file_path
from wandb_ckpt.server.names import check_file_path, check_run_name
from wandb_ckpt.server.store import Database, artifacts, runs
from wandb_ckpt.server.store.database import Value
from wandb_ckpt.server.store.records import Project, Run
from wandb_ckpt.server.versions.removal import delete_version

__all__ = [
    "create_run_files",
    "delete_files",
    "delete_run",
    "mark_run_files_uploaded",
    "notify_scriptable_run_alert",
    "stop_run",
    "update_run_state",
    "upsert_bucket",
]

_STATES = frozenset({"running", "pending", "finished", "failed", "crashed", "killed", "preempting", "preempted"})
_COLUMNS = {
    "display_name": "display_name",
    "description": "description",
    "notes": "notes",
    "config": "config",
    "summary_metrics": "summary",
    "group_name": "group_name",
    "job_type": "job_type",
    "host": "host",
    "job_program": "program",
    "job_repo": "repo",
    "commit": "commit_hash",
    "sweep": "sweep_name",
    "state": "state",
}
_ADJECTIVES = (
    "amber", "brisk", "calm", "deep", "early", "fair", "gentle", "golden",
    "hidden", "light", "misty", "northern", "proud", "quiet", "silver", "wild",
)  # fmt: skip
_NOUNS = (
    "breeze", "brook", "cloud", "dawn", "field", "forest", "glade", "harbor",
    "leaf", "meadow", "moon", "river", "sky", "sun", "thunder", "water",
)  # fmt: skip


def upsert_bucket(context: Context, data: Input) -> dict[str, Any]:
    """Create or edit a run, found by id or by project and name. Values that are null stay as they are."""
    for name in ("config", "summary_metrics"):
        if data.get(name) is not None and not isinstance(json.loads(data[name]), dict):
            raise InvalidRequestError(f"Invalid {name}: expected a JSON object.")
    if data.get("state") not in {None, *_STATES}:
        raise InvalidRequestError(
            f"Invalid run state {data['state']!r}: expected one of {', '.join(sorted(_STATES))}."
        )
    with context.db.atomic():
        run, inserted = _get_or_create(context, data)
        if data.get("host") and not inserted:
            # Each process of a run begins with this request, also one that resumes the run.
            runs.begin(context.db, run.id)
        runs.update(context.db, run.id, _changes(data))
    return {"bucket": runs.run(context.db, run.id), "inserted": inserted}


def _get_or_create(context: Context, data: Input) -> tuple[Run, bool]:
    if data.get("id"):
        return context.view.run_by_id(data["id"]), False
    name = check_run_name(data.get("name") or secrets.token_hex(4))
    project = context.view.project_on_demand(data.get("entity_name"), data.get("model_name"))
    known = runs.named(context.db, project.id, name)
    if known:
        return known, False
    return runs.create(context.db, project.id, name, _display_name(context.db, project), "running"), True


def _changes(data: Input) -> dict[str, Value]:
    changes: dict[str, Value] = {
        column: data[field] for field, column in _COLUMNS.items() if data.get(field) is not None
    }
    if data.get("tags") is not None:
        changes["tags"] = json.dumps(data["tags"])
    return changes


def _display_name(db: Database, project: Project) -> str:
    number = runs.count_in_project(db, project.id) + 1
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{number}"


def delete_run(context: Context, data: Input) -> dict[str, Any]:
    """Delete a run and, if asked, the versions that it logged. A run that is deleted already is no error."""
    if runs.run(context.db, ids.decode("Run", data["id"])) is not None:
        run = context.view.run_by_id(data["id"])
        with context.db.atomic(durable=True):
            for artifact in artifacts.outputs_of_run(context.db, run.id) if data.get("delete_artifacts") else ():
                delete_version(context.db, artifact)
            runs.delete(context.db, run.id)
    return {"client_mutation_id": data.get("client_mutation_id")}


def stop_run(context: Context, data: Input) -> dict[str, Any]:
    """Request that the process of a run stops."""
    runs.request_stop(context.db, context.view.run_by_id(data["id"]).id)
    return {"success": True}


def update_run_state(context: Context, data: Input) -> dict[str, Any]:
    """Set the state of a run to pending or failed, where W&B allows it."""
    run = context.view.run_by_id(data["id"])
    current = runs.shown_state(run.state, run.heartbeat_at)
    allowed = {"pending": {"running", "failed", "crashed", "preempted"}, "failed": {"pending", "running"}}
    if current not in allowed.get(data["state"], set()):
        raise InvalidRequestError(f"The state of a run can't change from {current!r} to {data['state']!r}.")
    runs.set_state(context.db, run.id, data["state"])
    return {"success": True}


def create_run_files(context: Context, data: Input) -> dict[str, Any]:
    """Announce files of a run, and return the addresses to upload them to."""
    run = _named(context, data)
    names = [check_file_path(name) for name in data["files"]]
    files = [{"name": name, "upload_url": context.urls.write(run_file_path(run.id, name))} for name in names]
    return {"run_id": ids.encode("Run", run.id), "upload_headers": [], "files": files}


def _named(context: Context, data: Input) -> Run:
    return context.view.run(data["entity_name"] or None, data["project_name"], data["run_name"])


def mark_run_files_uploaded(context: Context, data: Input) -> dict[str, Any]:
    """Do nothing: the server notes an upload when it ends."""
    _named(context, data)
    return {"success": True}


def delete_files(context: Context, data: Input) -> dict[str, Any]:
    """Delete files of runs."""
    numbers = [ids.decode("RunFile", file_id) for file_id in data["files"]]
    with context.db.atomic():
        for file in filter(None, (runs.file(context.db, number) for number in numbers)):
            context.view.run_by_id(ids.encode("Run", file.run_id))
            runs.delete_file(context.db, file.id)
    return {"success": True}


def notify_scriptable_run_alert(context: Context, data: Input) -> dict[str, Any]:
    """Accept an alert of `run.alert()`. The server sends it to nobody."""
    _named(context, data)
    return {"success": True}
