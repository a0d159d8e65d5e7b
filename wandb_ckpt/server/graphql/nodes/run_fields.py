"""The fields of runs: history, console lines, files and artifacts."""

from __future__ import annotations

import fnmatch
import json
from operator import attrgetter
from typing import Any

from wandb_ckpt.server import run_lines
from wandb_ckpt.server.graphql.context import Fields
from wandb_ckpt.server.graphql.files import File, file_of_run
from wandb_ckpt.server.graphql.paging import Listing
from wandb_ckpt.server.store import artifacts, runs
from wandb_ckpt.server.store.records import Artifact, Project, Run, User

__all__ = ["RunFields"]


class RunFields(Fields[Run]):
    """`Run`."""

    summary_metrics = property(attrgetter("source.summary"))
    group = property(attrgetter("source.group_name"))
    commit = property(attrgetter("source.commit_hash"))
    stopped = property(attrgetter("source.stop_requested"))
    read_only = False

    def state(self) -> str:
        """The state. A run that no longer sends heartbeats has crashed."""
        return runs.shown_state(self.source.state, self.source.heartbeat_at)

    def tags(self) -> list[str]:
        """The tags."""
        tags: list[str] = json.loads(self.source.tags)
        return tags

    def project(self) -> Project:
        """The project."""
        return self.view.project_of(self.source.project_id)

    def user(self) -> User:
        """The owner."""
        return self.view.user_of(self.project().user_id)

    def wandb_config(self, keys: list[str] | None = None) -> str:
        """What the client itself keeps in the config, as JSON."""
        internal = json.loads(self.source.config).get("_wandb", {})
        value = internal.get("value", {}) if isinstance(internal, dict) else {}
        wanted = value if isinstance(value, dict) else {}
        return json.dumps({key: wanted[key] for key in (keys or wanted) if key in wanted})

    # Lines

    def _rows(self, stream: str) -> list[str]:
        return [content for _, content in runs.lines(self.db, self.source.id, stream)]

    def system_metrics(self) -> str:
        """The newest system metrics, as JSON."""
        return runs.last_line(self.db, self.source.id, "events") or "{}"

    def history_line_count(self) -> int:
        """How many rows of history there are."""
        return runs.count_lines(self.db, self.source.id, "history")

    def events_line_count(self) -> int:
        """How many rows of system metrics there are."""
        return runs.count_lines(self.db, self.source.id, "events")

    def log_line_count(self) -> int:
        """How many console lines there are."""
        return runs.count_lines(self.db, self.source.id, "output")

    def history_tail(self) -> str:
        """The last row of history, in a JSON list."""
        return json.dumps(runs.last_lines(self.db, self.source.id, "history", 1))

    def events_tail(self) -> str:
        """The last row of system metrics, in a JSON list."""
        return json.dumps(runs.last_lines(self.db, self.source.id, "events", 1))

    def history_keys(self) -> dict[str, Any]:
        """How often each key was logged."""
        return run_lines.keys(self._rows("history"))

    def history(
        self, min_step: int | None = None, max_step: int | None = None, samples: int | None = None
    ) -> list[str]:
        """Rows as JSON: all with `min_step` <= step < `max_step`, or an even sample of all rows."""
        if min_step is not None or max_step is not None:
            low, high = min_step or 0, 2**62 if max_step is None else max_step
            limit = -1 if samples is None else max(samples, 0)
            return runs.history_between(self.db, self.source.id, low, high, limit)
        return run_lines.sampled(self._rows("history"), samples)

    def events(self, samples: int | None = None) -> list[str]:
        """An even sample of the rows of system metrics, as JSON."""
        return run_lines.sampled(self._rows("events"), samples)

    def sampled_history(self, specs: list[str]) -> list[list[dict[str, Any]]]:
        """For each spec, an even sample of the rows that have all its keys."""
        rows = self._rows("history")
        return [run_lines.select(rows, spec) for spec in specs]

    def parquet_history(self, live_keys: list[str]) -> dict[str, Any]:  # noqa: ARG002 (an argument of the schema)
        """No Parquet files: all history is live, and the client asks for it in pages."""
        first = runs.lines(self.db, self.source.id, "history", limit=1)
        return {"parquet_urls": [], "live_data": [json.loads(content) for _, content in first]}

    def log_lines(
        self,
        last: int | None = None,
        use_improved_pagination: bool | None = None,  # noqa: ARG002
    ) -> Listing:
        """Console lines: all, or the last ones."""
        total = self.log_line_count()
        start = max(0, total - max(last, 0)) if last is not None else 0

        def read(limit: int, offset: int) -> list[dict[str, Any]]:
            found = runs.lines(self.db, self.source.id, "output", limit=limit, offset=start + offset)
            return [run_lines.parse_console_line(number, text) for number, text in found]

        return Listing(total - start, read)

    # Files and artifacts

    def file_count(self) -> int:
        """How many files there are."""
        return runs.count_files(self.db, self.source.id)

    def files(self, names: list[str | None] | None = None, pattern: str | None = None) -> list[File]:
        """The files: with the given names, or with names that match an SQL pattern, or all."""
        found = runs.files(self.db, self.source.id, [name for name in names or [] if name is not None])
        if pattern:
            glob = pattern.replace("%", "*").replace("_", "?")
            found = [file for file in found if fnmatch.fnmatchcase(file.name, glob)]
        return [file_of_run(self.context, file) for file in found]

    def output_artifacts(self) -> Listing:
        """The versions that the run logged."""

        def read(limit: int, offset: int) -> list[Artifact]:
            return artifacts.outputs_of_run(self.db, self.source.id, limit, offset)

        return Listing(artifacts.count_edges(self.db, self.source.id, outputs=True), read)

    def input_artifacts(self) -> Listing:
        """The versions that the run used."""

        def read(limit: int, offset: int) -> list[Artifact]:
            return artifacts.inputs_of_run(self.db, self.source.id, limit, offset)

        return Listing(artifacts.count_edges(self.db, self.source.id, outputs=False), read)
