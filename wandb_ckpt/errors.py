"""The errors that this package raises; each says what happened, what was expected and what to do."""


class WandbCkptError(Exception):
    """Base of every error that this package raises on its own account."""


class ArgumentError(WandbCkptError, ValueError):
    """An argument can't work; raised when the callback is made, before any training."""


class NoActiveRunError(WandbCkptError, RuntimeError):
    """There is no W&B run that checkpoints could belong to; raised when training begins."""


class PublishError(WandbCkptError, RuntimeError):
    """A checkpoint was saved but can't become a version; raised with `on_error="raise"` only."""
