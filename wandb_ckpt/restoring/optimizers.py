"""Optimizers of a model, and the state that a checkpoint has for each."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wandb_ckpt.errors import RestoreError
from wandb_ckpt.family import is_defined_by_keras, is_layer
from wandb_ckpt.saving.saveables import Saveables

logger = logging.getLogger("wandb_ckpt")

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """What a checkpoint has of one optimizer.

    Attributes:
        path: The attribute of the model: `optimizer`, or another one where it has several.
        shapes: Those of its variables, in their order; none where it has no state.
        has_steps: Whether it has made a step.
        is_legacy: Whether it is of `tf_keras.optimizers.legacy`.
    """

    path: str
    shapes: tuple[Shape, ...] = ()
    has_steps: bool = False
    is_legacy: bool = False

    @property
    def is_unused(self) -> bool:
        """Whether there is nothing to restore: Keras saves the counters of an optimizer that was never built."""
        return not self.has_steps and not any(self.shapes)


def accepts(optimizer: Any, state: OptimizerState, model: Any, parts: Saveables, ref: str) -> bool:
    """Returns whether an optimizer takes a state, which it is built for if need be.

    Keras 3.15 and tf_keras 2.21 skip the state of an optimizer that has no variables yet, with but a warning. One
    that training never built, such as the default one of `compile()` beside two of a GAN, is not built here either.

    Raises:
        RestoreError: The state is another optimizer's.
    """
    if state.is_unused and (not state.shapes or shapes_of(optimizer) != state.shapes):
        logger.warning("%s has no %sstate: the optimizer stays as it is.", ref, _named(state.path, "optimizer "))
        return False
    if not getattr(optimizer, "built", state.is_legacy) and len(shapes_of(optimizer)) < len(state.shapes):
        _build(optimizer, state, model, parts, ref)
    if shapes_of(optimizer) != state.shapes or state.is_legacy:
        raise RestoreError(_differs(optimizer, state, ref))
    return True


def shapes_of(optimizer: Any) -> tuple[Shape, ...]:
    """Returns the shapes of what can be restored: of a legacy tf_keras optimizer, which can't be built here, none."""
    return tuple(tuple(variable.shape) for variable in optimizer.variables) if hasattr(optimizer, "build") else ()


def _build(optimizer: Any, state: OptimizerState, model: Any, parts: Saveables, ref: str) -> None:
    if not hasattr(optimizer, "build"):
        return
    owners = list(_owners(state, parts))
    if optimizer is model.optimizer and (is_defined_by_keras(type(model).train_step) or len(owners) != 1):
        owners = [model]
    if len(owners) != 1:
        raise RestoreError(
            f"{ref} has the state of {state.path!r}, and of which variables can't be told; nothing was restored. "
            f"Build it first: model.{state.path}.build(<the variables that it trains>)."
        )
    optimizer.build(owners[0].trainable_variables)


def _owners(state: OptimizerState, parts: Saveables) -> Iterator[Any]:
    """Yields the layers whose variables have the shapes of the state: most optimizers keep some copies of each."""
    slots, seen = Counter(filter(None, state.shapes)), set()
    for _, part in parts:
        variables = part.trainable_variables if is_layer(part) else []
        shapes = Counter(tuple(variable.shape) for variable in variables if variable.shape)
        same = tuple(id(variable) for variable in variables)
        ratios = {slots[shape] / number for shape, number in shapes.items()}
        if shapes.keys() == slots.keys() and len(ratios) == 1 and same not in seen:
            seen.add(same)
            yield part


def _differs(optimizer: Any, state: OptimizerState, ref: str) -> str:
    have = shapes_of(optimizer)
    number = f"{len(state.shapes)} {_named(state.path, 'optimizer ')}variables"
    what = f"has {len(have)}" if len(have) != len(state.shapes) else "has others: their shapes differ"
    return (
        f"{ref} has {number}, and this model's {type(optimizer).__name__} {what}; nothing was restored. Expected the "
        "optimizer that was saved, and the same layers to be trainable. Compile the model as it was, or call "
        f"wandb_ckpt.restore(model, {ref!r}, optimizer=False) to take the weights only."
    )


def _named(path: str, word: str) -> str:
    return word if path == "optimizer" else f"{word}{path!r} "
