"""Clients for W&B's public API, and questions with a time limit."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import wandb

from wandb_ckpt.threads import run_into, start
from wandb_ckpt.wandb_api.errors import UnreachableError, message_of

T = TypeVar("T")

# How long is waited to learn what W&B has of a run, in seconds, at the beginning of a resumed training above all.
_ASK_TIMEOUT = 20.0


def ask(question: Callable[[], T]) -> T:
    """Return the answer to a question to W&B, with a time limit.

    Raises:
        UnreachableError: W&B can't be asked, or does not answer in time.
    """
    answer: Future[T] = Future()
    # A daemon: the process does not wait at its end for what nobody waits for any more.
    if not start("wandb_ckpt_ask", partial(run_into, answer, question)):
        raise UnreachableError("no thread can be started to ask it")
    try:
        return answer.result(_ASK_TIMEOUT)
    except TimeoutError as error:
        raise UnreachableError(message_of(error)) from error


def api_for(run: "wandb.Run | None") -> "wandb.Api":
    """Return an API client for the run's server; without a run, for the server that wandb is set to."""
    if run is None:
        return wandb.Api()
    return wandb.Api(overrides={"base_url": run.settings.base_url}, api_key=run.settings.api_key)


def default_entity() -> str:
    """Return the user's default entity."""
    return str(wandb.Api().default_entity)


def base_url() -> str:
    """Return the URL of the server that wandb is set to."""
    return str(wandb.setup().settings.base_url)
