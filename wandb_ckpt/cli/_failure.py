"""Errors as one line and an exit code: what this package, wandb or the system says went wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from wandb_ckpt.cli._output import safe
from wandb_ckpt.errors import WandbCkptError
from wandb_ckpt.wandb_api.private import NO_HOME, has_home


class Failure(click.ClickException):
    """What ends a command with one line, and exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(safe(" ".join(message.split())))


@contextmanager
def in_one_line(failure: type[Failure] = Failure) -> Iterator[None]:
    """Turns errors that have a cause outside of this program into a `Failure`, or a kind of it."""
    try:
        with _no_questions():
            yield
    except Exception as error:
        if not _has_its_cause_outside(error):
            raise
        raise failure(_message(error)) from error


def _has_its_cause_outside(error: Exception) -> bool:
    if isinstance(error, RuntimeError) and not has_home():
        return True
    # wandb raises many kinds, some of which have no base in common (0.31).
    return isinstance(error, (WandbCkptError, OSError)) or type(error).__module__.partition(".")[0] == "wandb"


def _message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, (WandbCkptError, OSError)):
        return text
    if isinstance(error, RuntimeError) and not has_home():
        return NO_HOME
    return f"W&B: {text} `wandb-ckpt doctor` looks into it."


@contextmanager
def _no_questions() -> Iterator[None]:
    """Keeps wandb from asking for a key on the terminal: not to be logged in is an error here."""
    asked = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 - no path of ours
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = asked
