"""Outcome: what became of one checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wandb_ckpt.checkpoint import Checkpoint

State = Literal["pending", "committed", "offline", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one checkpoint.

    Attributes:
        checkpoint: What was saved.
        artifact: Name of its artifact.
        aliases: The aliases that it was given.
        state: `"pending"`; `"committed"` as `version`; `"offline"`, until `wandb sync` uploads it; or `"failed"`.
        version: `"v3"`; only when committed.
        reason: Why it is still pending or failed.
        path: Where its bytes are on this disk, absolute: the snapshot until it is committed, then the checkpoint.
    """

    checkpoint: Checkpoint
    artifact: str
    aliases: tuple[str, ...]
    state: State
    path: Path
    version: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        moment = f"epoch {self.checkpoint.epoch}"
        if self.checkpoint.batch is not None:
            moment += f" batch {self.checkpoint.batch}"
        end = f" as {self.version}" if self.version else f": {self.reason}" if self.reason else ""
        return f"{self.artifact} {moment} {self.state}{end} ({self.path})"


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return one line that says what became of all checkpoints."""
    outcomes = tuple(outcomes)
    parts = [_counted(outcomes, state) for state in ("committed", "offline", "pending", "failed")]
    best = [outcome for outcome in outcomes if outcome.checkpoint.is_best and outcome.version]
    text = f"{outcomes[-1].artifact}: {', '.join(filter(None, parts))}"
    if best:
        text += f"; best is {best[-1].version} ({best[-1].checkpoint.monitor} = {best[-1].checkpoint.value:.6g})"
    return text


def _counted(outcomes: tuple[Outcome, ...], state: str) -> str:
    number = sum(outcome.state == state for outcome in outcomes)
    words = {"offline": "kept for wandb sync"}
    return f"{number} checkpoint{'s' if number > 1 else ''} {words.get(state, state)}" if number else ""
