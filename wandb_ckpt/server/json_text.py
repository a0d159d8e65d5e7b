"""JSON text: what is sent to clients, which know no NaN and no infinity."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["dump"]


def dump(value: Any) -> bytes:
    """The value as JSON; NaN and the infinities as null."""
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
