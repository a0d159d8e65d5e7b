"""The page of a run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from starlette.responses import RedirectResponse, Response

from wandb_ckpt.server import run_lines
from wandb_ckpt.server.errors import NotFoundError
from wandb_ckpt.server.pages.comparison import flat
from wandb_ckpt.server.pages.facts import Facts, facts_of
from wandb_ckpt.server.pages.login_sessions import Visit
from wandb_ckpt.server.store import artifacts, page_rows, runs
from wandb_ckpt.server.store.page_rows import RunVersion
from wandb_ckpt.server.store.records import Run

__all__ = ["run_page", "run_tab"]

_CONSOLE_LINES = 200
_ARTIFACTS = 20
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TABS = {"overview": "", "workspace": "", "logs": "console", "artifacts": "logged", "files": "", "system": ""}


def run_page(visit: Visit) -> Response:
    """Show a run."""
    run = _find_run(visit)
    console = runs.last_lines(visit.db, run.id, "output", _CONSOLE_LINES)
    return visit.page(
        "run.html",
        entity=visit.user.name,
        project=visit.named("project"),
        run=run,
        tags=[tag for tag in _parsed(run.tags, list) if isinstance(tag, str)],
        config=_config(run),
        summary=_summary(run),
        logged=_versions(visit, run, logged=True),
        logged_count=artifacts.count_edges(visit.db, run.id, outputs=True),
        used=_versions(visit, run, logged=False),
        used_count=artifacts.count_edges(visit.db, run.id, outputs=False),
        console=[_console_line(*line) for line in enumerate(console)],
    )


def run_tab(visit: Visit) -> Response:
    """Redirect from the addresses of tabs in W&B."""
    run = _find_run(visit)
    if visit.named("tab") not in _TABS:
        raise NotFoundError("There is no such page.")
    anchor = _TABS[visit.named("tab")]
    path = visit.to.run(visit.user.name, visit.named("project"), run.name)
    return RedirectResponse(path + (f"#{anchor}" if anchor else ""), 303)


def _find_run(visit: Visit) -> Run:
    run = visit.view.run(visit.named("entity"), visit.named("project"), visit.named("run"))
    return replace(run, state=runs.shown_state(run.state, run.heartbeat_at))


def _config(run: Run) -> dict[str, Any]:
    # Each value is wrapped: {"lr": {"value": 0.1}}. "_wandb" belongs to the client.
    wrapped = _parsed(run.config, dict)
    shown = {key: item for key, item in wrapped.items() if key != "_wandb"}
    return flat({key: item.get("value") if isinstance(item, dict) else item for key, item in shown.items()})


def _summary(run: Run) -> dict[str, Any]:
    summary = _parsed(run.summary, dict)
    return flat({key: value for key, value in summary.items() if not key.startswith("_")})


def _parsed(text: str, kind: type[Any]) -> Any:
    value = json.loads(text) if text else None
    return value if isinstance(value, kind) else kind()


def _versions(visit: Visit, run: Run, *, logged: bool) -> list[tuple[RunVersion, Facts]]:
    found = page_rows.run_versions(visit.db, run.id, logged=logged, limit=_ARTIFACTS)
    return [(row, facts_of(row.version.metadata)) for row in found]


def _console_line(number: int, line: str) -> tuple[bool, str]:
    parsed = run_lines.parse_console_line(number, line)
    # A progress bar overwrites its line. Only its last state is shown, as in a terminal.
    text = _COLOURS.sub("", parsed["line"]).rstrip("\r\n").rpartition("\r")[2]
    return parsed["level"] == "error", text
