"""JSON as clients send it, and as they get it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

__all__ = ["dump", "load"]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]", re.ASCII)


def load(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has half of a surrogate pair.
    """
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _SURROGATE.search(data):
        # Half of a surrogate pair can be written in JSON, but not in the database or in an address.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def dump(value: Any) -> bytes:
    """Return a value as JSON. NaN and infinities, which JSON does not have, become null."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), separators=(",", ":"))
    return text.encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
