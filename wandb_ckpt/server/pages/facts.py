"""What the metadata of a version says about its checkpoint. Anyone may have written it, so everything is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wandb_ckpt.server.pages.formats import finite

__all__ = ["METADATA_KEYS", "Facts", "facts_of"]

# Shown before the other metadata, in this order.
METADATA_KEYS = (
    "monitor", "mode", "value", "best", "epoch", "batch", "step",
    "format", "file", "path", "keras_version", "backend", "saved_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a checkpoint. None if the metadata does not have it in the expected form.

    Attributes:
        monitor: The name of the monitored value.
        mode: Whether lower or higher values are better.
        value: The value of this checkpoint.
        best: The best value so far.
        epoch: Zero-based, as in the aliases.
        batch: Zero-based. None at the end of an epoch.
        metrics: All logged values that are numbers.
    """

    monitor: str | None
    mode: Literal["min", "max"] | None
    value: float | None
    best: float | None
    epoch: int | None
    batch: int | None
    metrics: Mapping[str, float]


def facts_of(metadata: Mapping[str, Any]) -> Facts:
    """Return the facts in the metadata of a version."""
    monitor, mode = metadata.get("monitor"), metadata.get("mode")
    return Facts(
        monitor=monitor if isinstance(monitor, str) and monitor else None,
        mode="min" if mode == "min" else "max" if mode == "max" else None,
        value=finite(metadata.get("value")),
        best=finite(metadata.get("best")),
        epoch=_count(metadata.get("epoch")),
        batch=_count(metadata.get("batch")),
        metrics=_metrics(metadata.get("logs")),
    )


def _count(value: Any) -> int | None:
    whole = finite(value)
    return int(whole) if whole is not None and whole == int(whole) else None


def _metrics(value: Any) -> Mapping[str, float]:
    if not isinstance(value, Mapping):
        return {}
    numbers = ((str(name), finite(number)) for name, number in value.items())
    return {name: number for name, number in numbers if number is not None}
