"""The states of a model's seed generators (dropout, noise, augmentation). Keras 3.15 saves them in no format."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

logger = logging.getLogger("wandb_ckpt")

# The name of the only variable of keras.random.SeedGenerator; legacy tf_keras has no such class.
_NAME = "seed_generator_state"


def states_of(model: Any) -> tuple[tuple[int, ...], ...]:
    """Return the state of each seed generator in a model, in the order of the model's variables."""
    return tuple(tuple(int(number) for number in np.ravel(state.numpy())) for state in _states(model))


def restore_states(model: Any, states: Sequence[Sequence[int]]) -> None:
    """Set the states of a model's seed generators to those that `states_of` returned."""
    variables = _states(model)
    if len(variables) != len(states):
        logger.warning(
            "The checkpoint has the states of %d seed generators, but the model has %d generators. The states were "
            "not restored, so dropout and noise will differ from those of an uninterrupted training.",
            len(states),
            len(variables),
        )
        return
    for variable, state in zip(variables, states, strict=True):
        variable.assign(np.asarray(state, dtype=str(variable.dtype)))


def _states(model: Any) -> list[Any]:
    return [variable for variable in getattr(model, "variables", ()) if variable.name == _NAME]
