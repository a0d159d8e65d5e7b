"""Console: takes apart the lines that a run wrote, as the client sends them."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["parse_line"]

_LINE = re.compile(
    r"(?P<level>ERROR )?(?P<time>\d{4}-\d\d-\d\dT[\d:.]+)(?:Z|[+-]\d\d:\d\d)? ?(?P<text>.*)", re.DOTALL
)


def parse_line(number: int, line: str) -> dict[str, Any]:
    """A line `[ERROR ]<time> <text>` as the fields of `LogLine`; any other line is all text."""
    found = _LINE.fullmatch(line)
    return {
        "number": number,
        "timestamp": found["time"] if found else None,
        "level": "error" if found and found["level"] else None,
        "label": None,
        "line": found["text"] if found else line,
    }
