"""The ways in which a request to W&B can fail."""

from wandb.errors import Error as WandbError

__all__ = [
    "FinishedError",
    "LostError",
    "RefusedError",
    "TemporaryError",
    "UnreachableError",
    "WandbError",
    "message_of",
]


class RefusedError(Exception):
    """W&B refuses this checkpoint for good. Trying again does not help."""


class FinishedError(Exception):
    """The run is finished, so this process can't log to it."""


class LostError(Exception):
    """wandb gave up an upload. It must be handed over again."""


class TemporaryError(LostError):
    """wandb gave up an upload for a temporary reason: a full disk, or a broken connection. W&B may have it."""


class UnreachableError(Exception):
    """W&B, the run or wandb's service can't be reached now. The checkpoint stays pending."""


def message_of(error: BaseException) -> str:
    """Return the message of an error, or its name if it has none."""
    return str(error) or type(error).__name__
