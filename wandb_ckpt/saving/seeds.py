"""The states of a model's seed generators (dropout, noise, augmentation), which Keras 3.15 saves in no format."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

logger = logging.getLogger("wandb_ckpt")

# What keras.random.SeedGenerator calls its only variable; legacy tf_keras has none.
_NAME = "seed_generator_state"


def states_of(model: Any) -> tuple[tuple[int, ...], ...]:
    """Returns the state of each seed generator in a model, in the order of the model's variables."""
    return tuple(tuple(int(number) for number in np.ravel(state.numpy())) for state in _states(model))


def put_back(model: Any, states: Sequence[Sequence[int]]) -> None:
    """Gives a model's seed generators the states that `states_of` returned."""
    variables = _states(model)
    if len(variables) != len(states):
        logger.warning(
            "The checkpoint has the states of %d seed generators, and the model has %d generators: dropout and noise "
            "will not be what they would have been.",
            len(states),
            len(variables),
        )
        return
    for variable, state in zip(variables, states, strict=True):
        variable.assign(np.asarray(state, dtype=str(variable.dtype)))


def _states(model: Any) -> list[Any]:
    return [variable for variable in getattr(model, "variables", ()) if variable.name == _NAME]
