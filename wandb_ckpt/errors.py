"""The errors that this package raises. Each message says what happened, what was expected and what to do."""


class WandbCkptError(Exception):
    """Base class of all errors of this package."""


class ArgumentError(WandbCkptError, ValueError):
    """An argument is invalid. Raised before anything else is done."""


class NoActiveRunError(WandbCkptError, RuntimeError):
    """There is no active W&B run. Raised when training begins, and for an alias without a model name."""


class PublishError(WandbCkptError, RuntimeError):
    """A checkpoint was saved but could not be published. Raised only with `on_error="raise"`."""


class CheckpointNotFoundError(WandbCkptError, LookupError):
    """W&B has no such version. Raised by `download`, `load_model` and `restore`."""


class DamagedCheckpointError(WandbCkptError, OSError):
    """A downloaded file does not match the version's manifest. Nothing was loaded from it."""


class RestoreError(WandbCkptError, ValueError):
    """A checkpoint can't be loaded this way, or does not fit the model."""
