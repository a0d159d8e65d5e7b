"""The errors that this package raises; each says what happened, what was expected and what to do."""


class WandbCkptError(Exception):
    """Base of every error that this package raises on its own account."""


class ArgumentError(WandbCkptError, ValueError):
    """An argument can't work; raised before anything else is done."""


class NoActiveRunError(WandbCkptError, RuntimeError):
    """There is no active W&B run for checkpoints to belong to; raised when training begins, and for a bare alias."""


class PublishError(WandbCkptError, RuntimeError):
    """A checkpoint was saved but can't become a version; raised with `on_error="raise"` only."""


class CheckpointNotFoundError(WandbCkptError, LookupError):
    """W&B has no version of that name; raised by `download`, `load_model` and `restore`."""


class DamagedCheckpointError(WandbCkptError, OSError):
    """A downloaded file is not the one in the version's manifest; nothing was loaded from it."""


class RestoreError(WandbCkptError, ValueError):
    """A checkpoint can't be loaded this way, or does not fit the model."""
