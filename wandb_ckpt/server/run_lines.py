"""The lines that a run logs, as the client sends them: rows of history, and console lines. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from wandb_ckpt.server.errors import InvalidRequestError

__all__ = ["keys", "parse_console_line", "sampled", "select"]

_Row = TypeVar("_Row")
_LINE = re.compile(
    r"(?P<level>ERROR )?(?P<time>\d{4}-\d\d-\d\dT[\d:.]+)(?:Z|[+-]\d\d:\d\d)? ?(?P<text>.*)", re.DOTALL
)


def sampled(rows: Sequence[_Row], samples: int | None) -> list[_Row]:
    """Return at most `samples` rows, evenly spread, with the first and the last."""
    if samples is None or samples >= len(rows):
        return list(rows)
    if samples <= 1:
        return list(rows[:samples]) if samples > 0 else []
    last = len(rows) - 1
    return [rows[round(place * last / (samples - 1))] for place in range(samples)]


def select(rows: Sequence[str], spec: str) -> list[dict[str, Any]]:
    """Return the rows that have all keys of a spec, reduced to these keys.

    Args:
        rows: Logged rows as JSON.
        spec: JSON of `{"keys": [...], "minStep": n, "maxStep": n, "samples": n}`, steps inclusive.
    """
    wanted = json.loads(spec)
    names = wanted.get("keys") if isinstance(wanted, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidRequestError("Invalid history spec: expected a JSON object with a list of keys.")
    low, high = _number(wanted.get("minStep"), 0), _number(wanted.get("maxStep"), 2**63)
    parsed = [row for row in map(json.loads, rows) if isinstance(row, dict)]
    found = [
        {name: row[name] for name in names}
        for row in parsed
        if low <= _number(row.get("_step"), 0) <= high and all(name in row for name in names)
    ]
    return sampled(found, int(_number(wanted.get("samples"), len(found))))


def _number(value: Any, default: int) -> float:
    return value if isinstance(value, int | float) and value == value else default


def keys(rows: Sequence[str]) -> dict[str, Any]:
    """Return how often each key was logged, with which types, and its last value, as `historyKeys` of W&B."""
    types: dict[str, Counter[str]] = {}
    previous: dict[str, Any] = {}
    last_step = -1
    for row in map(json.loads, rows):
        if not isinstance(row, dict):
            continue
        last_step = max(last_step, int(_number(row.get("_step"), -1)))
        for name, value in row.items():
            types.setdefault(name, Counter())[_type(value)] += 1
            previous[name] = value
    return {"lastStep": last_step, "keys": {name: _key(types[name], previous[name]) for name in types}}


def _key(counts: Counter[str], last: Any) -> dict[str, Any]:
    type_counts = [{"type": name, "count": count} for name, count in counts.items()]
    return {"typeCounts": type_counts, "monotonic": False, "previousValue": last}


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return str(value.get("_type", "map"))
    return "string" if isinstance(value, str) else "list" if isinstance(value, list) else "nil"


def parse_console_line(number: int, line: str) -> dict[str, Any]:
    """Return a line `[ERROR ]<time> <text>` as the fields of `LogLine`. Any other line is all text."""
    found = _LINE.fullmatch(line)
    return {
        "number": number,
        "timestamp": found["time"] if found else None,
        "level": "error" if found and found["level"] else None,
        "label": None,
        "line": found["text"] if found else line,
    }
