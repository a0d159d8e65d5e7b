"""Nodes: runs with their history, console lines and files."""

# ruff: noqa: ARG002 (the schema names arguments that this server needs not)
from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING, Any

from wandb_ckpt.server import ids
from wandb_ckpt.server import run_lines as history
from wandb_ckpt.server.console import parse_line
from wandb_ckpt.server.graphql import files as file_nodes
from wandb_ckpt.server.graphql import filters as conditions
from wandb_ckpt.server.graphql.nodes import artifact_fields as artifact_nodes
from wandb_ckpt.server.graphql.nodes import project_fields as project_nodes
from wandb_ckpt.server.graphql.nodes import user_fields as account_nodes
from wandb_ckpt.server.graphql.paging import Connection, connect, connect_all
from wandb_ckpt.server.store import artifacts, runs
from wandb_ckpt.server.store.records import Run
from wandb_ckpt.server.store.run_state import shown_state

if TYPE_CHECKING:
    from wandb_ckpt.server.graphql.context import Context

__all__ = ["RunNode", "filtered"]


class RunNode:
    """`Run`."""

    typename = "Run"

    def __init__(self, context: Context, record: Run) -> None:
        self._context = context
        self.record = record
        self.id = ids.encode("Run", record.id)
        self.name = record.name
        self.display_name = record.display_name
        self.description = record.description
        self.notes = record.notes
        self.config = record.config
        self.summary_metrics = record.summary
        self.group = self.group_name = record.group_name
        self.job_type = record.job_type
        self.commit = record.commit_hash
        self.host = record.host
        self.sweep_name = record.sweep_name
        self.state = shown_state(record.state, record.heartbeat_at)
        self.stopped = bool(record.stop_requested)
        self.read_only = False
        self.created_at = record.created_at
        self.heartbeat_at = record.heartbeat_at
        self.project_id = record.project_id

    @property
    def tags(self) -> list[str]:
        """The run's tags."""
        tags: list[str] = json.loads(self.record.tags)
        return tags

    def project(self) -> project_nodes.ProjectNode:
        """The project."""
        return project_nodes.ProjectNode(self._context, self._context.project_of(self.record.project_id))

    def user(self) -> account_nodes.UserNode:
        """Whose run it is."""
        project = self._context.project_of(self.record.project_id)
        return account_nodes.UserNode(self._context, self._context.user_of(project.user_id))

    def wandb_config(self, keys: list[str] | None = None) -> str:
        """What the client itself keeps in the config, as JSON."""
        internal = json.loads(self.record.config).get("_wandb", {})
        value = internal.get("value", {}) if isinstance(internal, dict) else {}
        wanted = value if isinstance(value, dict) else {}
        return json.dumps({key: wanted[key] for key in (keys or wanted) if key in wanted})

    # Streams

    def _rows(self, stream: str) -> list[str]:
        return [content for _, content in runs.lines(self._context.db, self.record.id, stream)]

    def system_metrics(self) -> str:
        """The newest system metrics, as JSON."""
        return runs.last_line(self._context.db, self.record.id, "events") or "{}"

    def history_line_count(self) -> int:
        """How many rows were logged."""
        return runs.count_lines(self._context.db, self.record.id, "history")

    def events_line_count(self) -> int:
        """How many rows of system metrics there are."""
        return runs.count_lines(self._context.db, self.record.id, "events")

    def log_line_count(self) -> int:
        """How many lines of console output there are."""
        return runs.count_lines(self._context.db, self.record.id, "output")

    def history_tail(self) -> str:
        """The last row, in a JSON list."""
        return self._tail("history")

    def events_tail(self) -> str:
        """The last row of system metrics, in a JSON list."""
        return self._tail("events")

    def _tail(self, stream: str) -> str:
        last = runs.last_line(self._context.db, self.record.id, stream)
        return json.dumps([] if last is None else [last])

    def history_keys(self) -> dict[str, Any]:
        """Which keys were logged how often."""
        return history.keys(self._rows("history"))

    def history(
        self, min_step: int | None = None, max_step: int | None = None, samples: int | None = None
    ) -> list[str]:
        """Rows as JSON: all from `min_step` up to before `max_step`, or evenly picked ones."""
        if min_step is not None or max_step is not None:
            low, high = min_step or 0, 2**62 if max_step is None else max_step
            limit = -1 if samples is None else max(samples, 0)
            return runs.history_between(self._context.db, self.record.id, low, high, limit)
        return history.sampled(self._rows("history"), samples)

    def events(self, samples: int | None = None) -> list[str]:
        """Evenly picked rows of system metrics, as JSON."""
        return history.sampled(self._rows("events"), samples)

    def sampled_history(self, specs: list[str]) -> list[list[dict[str, Any]]]:
        """For each spec the rows that have all its keys, evenly picked."""
        rows = self._rows("history")
        return [history.select(rows, spec) for spec in specs]

    def parquet_history(self, live_keys: list[str]) -> dict[str, Any]:
        """This server keeps no Parquet files: all history is live, and the client asks for it in pages."""
        first = runs.lines(self._context.db, self.record.id, "history", limit=1)
        return {"parquet_urls": [], "live_data": [json.loads(content) for _, content in first]}

    def log_lines(
        self,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        use_improved_pagination: bool | None = None,
    ) -> Connection:
        """Lines of console output: a page of them, or the last ones."""
        total = self.log_line_count()
        start = max(0, total - max(last, 0)) if last is not None else 0

        def window(limit: int, offset: int) -> list[dict[str, Any]]:
            found = runs.lines(self._context.db, self.record.id, "output", limit=limit, offset=start + offset)
            return [parse_line(number, text) for number, text in found]

        return connect(lambda: total - start, window, first=first, after=after)

    # Files and artifacts

    def file_count(self) -> int:
        """How many files were uploaded."""
        return runs.count_files(self._context.db, self.record.id)

    def files(
        self,
        names: list[str | None] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
    ) -> Connection:
        """The uploaded files: those of given names, those like an SQL pattern, or all."""
        wanted = [name for name in names or [] if name is not None]
        found = runs.files(self._context.db, self.record.id, wanted)
        if pattern:
            glob = pattern.replace("%", "*").replace("_", "?")
            found = [file for file in found if fnmatch.fnmatchcase(file.name, glob)]
        nodes = [file_nodes.FileNode.of_run(self._context, file) for file in found]
        return connect_all(nodes, first=first, after=after)

    def output_artifacts(self, after: str | None = None, first: int | None = None) -> Connection:
        """The versions that the run logged."""
        count = artifacts.count_edges(self._context.db, self.record.id, outputs=True)
        return connect(lambda: count, self._outputs, first=first, after=after)

    def input_artifacts(self, after: str | None = None, first: int | None = None) -> Connection:
        """The versions that the run used."""
        count = artifacts.count_edges(self._context.db, self.record.id, outputs=False)
        return connect(lambda: count, self._inputs, first=first, after=after)

    def _outputs(self, limit: int, offset: int) -> list[artifact_nodes.ArtifactNode]:
        found = artifacts.outputs_of_run(self._context.db, self.record.id, limit, offset)
        return [artifact_nodes.ArtifactNode(self._context, each) for each in found]

    def _inputs(self, limit: int, offset: int) -> list[artifact_nodes.ArtifactNode]:
        found = artifacts.inputs_of_run(self._context.db, self.record.id, limit, offset)
        return [artifact_nodes.ArtifactNode(self._context, each) for each in found]

    def lookup(self, field: str) -> Any:
        """A field by its dotted name, for filters and orders."""
        head, _, rest = field.partition(".")
        if head == "config" and rest:
            return _config_value(json.loads(self.record.config), rest.split("."))
        if head in {"summary_metrics", "summaryMetrics", "summary"} and rest:
            return _inner(json.loads(self.record.summary), rest.split("."))
        if field in {"username", "user.username", "user"}:
            return self._context.user.name
        attribute = _FIELDS.get(field)
        return getattr(self, attribute) if attribute else None


_FIELDS = {
    "name": "name",
    "display_name": "display_name",
    "displayName": "display_name",
    "state": "state",
    "tags": "tags",
    "group": "group",
    "group_name": "group",
    "job_type": "job_type",
    "jobType": "job_type",
    "notes": "notes",
    "description": "description",
    "commit": "commit",
    "host": "host",
    "sweep": "sweep_name",
    "sweep_name": "sweep_name",
    "created_at": "created_at",
    "createdAt": "created_at",
    "heartbeat_at": "heartbeat_at",
    "heartbeatAt": "heartbeat_at",
    "updated_at": "heartbeat_at",
    "updatedAt": "heartbeat_at",
}


def _config_value(config: dict[str, Any], path: list[str]) -> Any:
    # The stored form is {"lr": {"value": 0.1}}; people write config.lr as well as config.lr.value.
    wrapped = config.get(path[0])
    value = wrapped.get("value") if isinstance(wrapped, dict) else wrapped
    return _inner(value, path[2:] if path[1:2] == ["value"] else path[1:])


def _inner(value: Any, path: list[str]) -> Any:
    # Keys may themselves have dots in them: "a.b" under one key comes before "b" under "a".
    if not path or not isinstance(value, dict):
        return None if path else value
    whole = ".".join(path)
    return value[whole] if whole in value else _inner(value.get(path[0]), path[1:])


def filtered(context: Context, project_id: int, filters: str | None, order: str | None) -> list[RunNode]:
    """The runs of a project that meet a condition, in the order asked for; by default newest first."""
    condition = conditions.parse(filters)
    field, downwards = conditions.parse_order(order, "-created_at")
    nodes = [RunNode(context, each) for each in runs.in_project(context.db, project_id)]
    found = [node for node in nodes if conditions.matches(condition, node.lookup)]
    # Runs that began within one second keep the order in which they came.
    found = found[::-1] if downwards else found
    return list(conditions.sort(found, lambda node: node.lookup(field), downwards=downwards))
