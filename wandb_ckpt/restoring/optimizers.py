"""The optimizers of a model, and the state of each in a checkpoint."""

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
    """The state of one optimizer in a checkpoint.

    Attributes:
        path: The attribute of the model that is the optimizer: `optimizer`, or another one if there are several.
        shapes: The shapes of its variables, in order; empty if there is no state.
        has_steps: Whether the optimizer has made a step.
        is_legacy: Whether it is an optimizer of `tf_keras.optimizers.legacy`.
    """

    path: str
    shapes: tuple[Shape, ...] = ()
    has_steps: bool = False
    is_legacy: bool = False

    @property
    def is_unused(self) -> bool:
        """Whether there is nothing to restore. Keras saves the counters also of an optimizer that was never built."""
        return not self.has_steps and not any(self.shapes)


def accepts(optimizer: Any, state: OptimizerState, model: Any, parts: Saveables, ref: str) -> bool:
    """Return whether an optimizer can take a state. Build it first if necessary.

    If an optimizer is not built, Keras 3.15 and tf_keras 2.21 skip its state and only log a warning. An optimizer
    that training never built is not built here either, for example the default one of `compile()` in a GAN that has
    two others.

    Raises:
        RestoreError: The state belongs to a different optimizer.
    """
    if state.is_unused and (not state.shapes or shapes_of(optimizer) != state.shapes):
        logger.warning("%s has no %sstate, so the optimizer stays as it is.", ref, _named(state.path, "optimizer "))
        return False
    if not getattr(optimizer, "built", state.is_legacy) and len(shapes_of(optimizer)) < len(state.shapes):
        _build(optimizer, state, model, parts, ref)
    if shapes_of(optimizer) != state.shapes or state.is_legacy:
        raise RestoreError(_differs(optimizer, state, ref))
    return True


def shapes_of(optimizer: Any) -> tuple[Shape, ...]:
    """Return the shapes of an optimizer's variables; empty for a legacy tf_keras one, which can't be built here."""
    return tuple(tuple(variable.shape) for variable in optimizer.variables) if hasattr(optimizer, "build") else ()


def _build(optimizer: Any, state: OptimizerState, model: Any, parts: Saveables, ref: str) -> None:
    if not hasattr(optimizer, "build"):
        return
    owners = list(_owners(state, parts))
    if optimizer is model.optimizer and (is_defined_by_keras(type(model).train_step) or len(owners) != 1):
        owners = [model]
    if len(owners) != 1:
        raise RestoreError(
            f"{ref} has the state of the optimizer {state.path!r}, but this optimizer is not built, and it is not "
            "known which variables it trains; nothing was restored. Build it first: "
            f"model.{state.path}.build(<the variables that it trains>)."
        )
    optimizer.build(owners[0].trainable_variables)


def _owners(state: OptimizerState, parts: Saveables) -> Iterator[Any]:
    """Yield the layers whose variables have the shapes of the state: most optimizers have a few slots for each."""
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
    what = f"has {len(have)}" if len(have) != len(state.shapes) else "has variables of other shapes"
    return (
        f"{ref} has {number}, and this model's {type(optimizer).__name__} {what}; nothing was restored. Expected the "
        "optimizer that was saved, and the same trainable layers. Compile the model as it was, or call "
        f"wandb_ckpt.restore(model, {ref!r}, optimizer=False) to restore only the weights."
    )


def _named(path: str, word: str) -> str:
    return word if path == "optimizer" else f"{word}{path!r} "
