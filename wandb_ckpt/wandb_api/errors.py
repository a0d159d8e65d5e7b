"""What can become of a request to W&B, as exceptions."""

from wandb.errors import Error as WandbError

__all__ = ["FinishedError", "LostError", "PassingError", "RefusedError", "UnreachableError", "WandbError", "words"]


class RefusedError(Exception):
    """This checkpoint can never become a version; trying again is no use."""


class FinishedError(Exception):
    """The run is finished, and takes nothing more from this process."""


class LostError(Exception):
    """wandb gave up what it had taken; it must be handed over again."""


class PassingError(LostError):
    """wandb gave it up because of what passes: a full disk, an answer that was cut off. W&B may have it already."""


class UnreachableError(Exception):
    """W&B, the run or wandb's own service can't be reached now; the checkpoint stays pending."""


def words(error: BaseException) -> str:
    """Returns what an error says, or its name where it says nothing."""
    return str(error) or type(error).__name__
