"""What is best, and which aliases a checkpoint gets. Pure."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from wandb_ckpt.checkpoint import Checkpoint, Direction

_IS_BETTER: dict[Direction, Callable[[float, float], bool]] = {"min": operator.lt, "max": operator.gt}


def beside(checkpoint: Checkpoint, others: Iterable[float | None]) -> Checkpoint:
    """Return the checkpoint as the best or not, compared with other values.

    A missing value is never best, nor is any value while it is unknown which direction is better.
    An equal value is no improvement, as in Keras.

    >>> checkpoint = Checkpoint(path="m.keras", format="keras", epoch=0, monitor="loss", mode="min", value=2.0)
    >>> beside(checkpoint, [3.0]).is_best, beside(checkpoint, [1.0]).best
    (True, 1.0)
    """
    value, mode, best = checkpoint.value, checkpoint.mode, best_of(others, checkpoint.mode)
    is_best = value is not None and mode is not None and (best is None or is_better(value, best, mode))
    return replace(checkpoint, is_best=is_best, best=value if is_best else best)


def best_of(values: Iterable[float | None], mode: Direction | None) -> float | None:
    """Return the best value, or `None` if there is none or the direction is unknown."""
    known = [value for value in values if value is not None]
    if mode is None or not known:
        return None
    return min(known) if mode == "min" else max(known)


def is_better(value: float, other: float, mode: Direction) -> bool:
    """Return whether a value is better than another one, not only as good.

    >>> is_better(0.5, 0.4, "max"), is_better(0.5, 0.5, "max")
    (True, False)
    """
    return _IS_BETTER[mode](value, other)


def direction_of(monitor_op: Callable[[Any, Any], Any]) -> Direction:
    """Return the direction of Keras's comparison. Its result may be a backend tensor.

    >>> direction_of(operator.lt)
    'min'
    """
    return "min" if bool(monitor_op(0.0, 1.0)) else "max"


def aliases_for(checkpoint: Checkpoint, extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the aliases of a checkpoint's version, without duplicates.

    `epoch_N` and `epoch_N_batch_M` are zero-based: wandb's own callback names them so, and scripts rely on it.

    >>> aliases_for(Checkpoint(path="m.keras", format="keras", epoch=2, monitor="loss", is_best=True))
    ('latest', 'best', 'epoch_2')
    """
    moment = f"epoch_{checkpoint.epoch}"
    if checkpoint.batch is not None:
        moment += f"_batch_{checkpoint.batch}"
    best = ("best",) if checkpoint.is_best else ()
    return tuple(dict.fromkeys(("latest", *best, moment, *extra)))
