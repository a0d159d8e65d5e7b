"""Table cells that several commands print."""

from typing import TYPE_CHECKING, Any

from wandb_ckpt.cli._output import number

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Version
    from wandb_ckpt.outbox.entry import Entry


def value_of(version: "Version | Entry[Any]") -> str:
    """Return the monitored value with its name: `val_loss 0.25`."""
    checkpoint = version.checkpoint
    return "" if checkpoint.value is None else f"{checkpoint.monitor} {number(checkpoint.value)}"


def epoch_of(version: "Version | Entry[Any]") -> str:
    """Return the epoch, and the batch for a save within it: `3`, `3.99`."""
    checkpoint = version.checkpoint
    if checkpoint.epoch is None:
        return ""
    return f"{checkpoint.epoch}" if checkpoint.batch is None else f"{checkpoint.epoch}.{checkpoint.batch}"
