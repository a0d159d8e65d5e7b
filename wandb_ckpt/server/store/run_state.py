"""Run state: what a run's state is when its process has not been heard of for long."""

from __future__ import annotations

import datetime

__all__ = ["shown_state"]

# The client sends a heart-beat every 30 seconds; W&B gives up on a run after five minutes.
_SILENT_SECONDS = 300


def shown_state(state: str, heartbeat_at: str) -> str:
    """The state to show: a running run that fell silent has "crashed"."""
    if state != "running":
        return state
    last = datetime.datetime.fromisoformat(heartbeat_at)
    silent = (datetime.datetime.now(datetime.UTC) - last).total_seconds()
    return "crashed" if silent > _SILENT_SECONDS else state
