"""Print an error of this package, wandb or the system as one line, and exit with its code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from wandb_ckpt.cli._output import safe
from wandb_ckpt.errors import WandbCkptError
from wandb_ckpt.wandb_api.private import NO_HOME, has_home


class Failure(click.ClickException):
    """An error that ends a command with one line and exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(safe(" ".join(message.split())))


@contextmanager
def errors_in_one_line(failure: type[Failure] = Failure) -> Iterator[None]:
    """Turn expected errors into a `Failure`, or a subclass of it. All others are bugs, and keep their traceback."""
    try:
        with _no_prompts():
            yield
    except Exception as error:
        if not _is_expected(error):
            raise
        raise failure(_message(error)) from error


def _is_expected(error: Exception) -> bool:
    if isinstance(error, RuntimeError) and not has_home():
        return True
    # wandb 0.31 raises errors of many types, and some have no common base class.
    return isinstance(error, (WandbCkptError, OSError)) or type(error).__module__.partition(".")[0] == "wandb"


def _message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, (WandbCkptError, OSError)):
        return text
    if isinstance(error, RuntimeError) and not has_home():
        return NO_HOME
    return f"W&B: {text} To check packages, login and server, run `wandb-ckpt doctor`."


@contextmanager
def _no_prompts() -> Iterator[None]:
    """Prevent wandb from asking for an API key on the terminal. Without a login, the command fails instead."""
    stdin = sys.stdin
    with open(os.devnull, encoding="utf-8") as empty:  # noqa: PTH123 - not a path
        sys.stdin = empty
        try:
            yield
        finally:
            sys.stdin = stdin
