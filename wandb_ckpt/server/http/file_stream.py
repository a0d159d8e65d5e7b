"""The stream of a run: `POST /files/{entity}/{project}/{run}/file_stream`, which is sent while the run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse

from wandb_ckpt.server.errors import InvalidRequestError
from wandb_ckpt.server.http.access import key_user
from wandb_ckpt.server.http.bodies import read_json
from wandb_ckpt.server.http.services import services_of
from wandb_ckpt.server.store import Database, runs
from wandb_ckpt.server.store.records import Run
from wandb_ckpt.server.store.user_view import UserView

__all__ = ["endpoint"]

# The client sends at most 10 MB.
_MOST_BYTES = 64 * 2**20
_STREAMS = {
    "wandb-history.jsonl": "history",
    "wandb-events.jsonl": "events",
    "output.log": "output",
}
_SUMMARY = "wandb-summary.json"


async def endpoint(request: Request) -> JSONResponse:
    """Store lines, summary, heartbeat and end of a run. The answer says whether a stop was requested."""
    services = services_of(request)
    user = await to_thread.run_sync(key_user, request)
    names = request.path_params
    view = UserView(services.db, user)
    run = await to_thread.run_sync(view.run, names["entity"], names["project"], names["run"])
    body = await read_json(request, _MOST_BYTES)
    if not isinstance(body, dict):
        raise InvalidRequestError("Expected a JSON object.")
    await to_thread.run_sync(_write, services.db, run, body)
    return JSONResponse({"exitcode": None, "limits": {}, "stopped": bool(run.stop_requested)})


def _write(db: Database, run: Run, body: dict[str, Any]) -> None:
    files = {} if body.get("files") is None else body["files"]
    if not isinstance(files, dict):
        raise InvalidRequestError('"files" must be a JSON object.')
    with db.atomic():
        for name, chunk in files.items():
            _write_file(db, run, name, chunk)
        _write_state(db, run, body)


def _write_file(db: Database, run: Run, name: str, chunk: Any) -> None:
    offset, lines = _chunk(chunk)
    if name == _SUMMARY:
        if lines and _json_object(lines[-1]) is not None:
            runs.update(db, run.id, {"summary": lines[-1]})
        return
    stream = _STREAMS.get(name)
    if stream is None:
        raise InvalidRequestError(f"The file {name!r} can't be streamed: expected one of {', '.join(_STREAMS)}.")
    runs.write_lines(db, run.id, stream, _numbered(stream, offset, lines))


def _chunk(chunk: Any) -> tuple[int, list[str]]:
    offset = chunk.get("offset", 0) if isinstance(chunk, dict) else None
    lines = chunk.get("content", []) if isinstance(chunk, dict) else None
    if not isinstance(offset, int) or not 0 <= offset < 2**53 or not isinstance(lines, list):
        raise InvalidRequestError("A streamed chunk needs an offset and a list of lines.")
    if not all(isinstance(line, str) for line in lines):
        raise InvalidRequestError("A streamed line must be a string.")
    return offset, lines


def _numbered(stream: str, offset: int, lines: list[str]) -> Iterator[runs.Line]:
    for number, line in enumerate(lines, offset):
        if stream == "output":
            yield number, None, line
        elif (row := _json_object(line)) is not None:
            yield number, _step(row), line


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _step(row: dict[str, Any]) -> int | None:
    step = row.get("_step")
    return int(step) if isinstance(step, int | float) and abs(step) < 2**53 else None


def _write_state(db: Database, run: Run, body: dict[str, Any]) -> None:
    if body.get("complete"):
        code = body.get("exitcode")
        code = code if isinstance(code, int) and abs(code) < 2**31 else 0
        runs.set_state(db, run.id, "failed" if code else "finished", code)
    elif body.get("preempting"):
        runs.set_state(db, run.id, "preempting")
    else:
        runs.set_state(db, run.id, "running")
