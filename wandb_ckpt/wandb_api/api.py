"""Clients for W&B's public API, and questions that are bounded in time."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import wandb

from wandb_ckpt.threads import run_into, start
from wandb_ckpt.wandb_api.errors import UnreachableError, words

T = TypeVar("T")


# How long is waited to learn what W&B has of a run, in seconds, at the beginning of a resumed training above all.
_ASK_TIMEOUT = 20.0


def ask(question: Callable[[], T]) -> T:
    """Returns what W&B answers, for a training that is about to begin and can't wait for ever.

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
        raise UnreachableError(words(error)) from error


def api_for(run: "wandb.Run | None") -> "wandb.Api":
    """Returns an API for the server that the run is on; without one, for the server that wandb is set to."""
    if run is None:
        return wandb.Api()
    return wandb.Api(overrides={"base_url": run.settings.base_url}, api_key=run.settings.api_key)


def default_entity() -> str:
    """Returns the entity that wandb takes where none is given."""
    return str(wandb.Api().default_entity)


def base_url() -> str:
    """Returns the URL of the server that wandb is set to."""
    return str(wandb.setup().settings.base_url)
